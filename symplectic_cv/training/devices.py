"""The device of a training, and its step as one CUDA graph.

A step is hundreds of small kernels, whose launches take a CPU longer than a GPU needs to run them.
Captured once, the forward pass and the backward pass are one launch each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from symplectic_cv.errors import OptionError

DEVICES = ("auto", "cpu", "cuda")

Terms = Callable[..., tuple[Tensor, Tensor]]
"""A batch to its loss and to the number that the history records, both scalars."""


def check_device(device: str) -> None:
    """Raises OptionError where a device is unknown, or `cuda` without an NVIDIA GPU."""
    if device not in DEVICES:
        raise OptionError(f"`device` must be auto, cpu or cuda; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("`device='cuda'`: torch finds no NVIDIA GPU here; use `device='cpu'`")


def training_device(device: str, faster_on_gpu: bool = True) -> str:
    """`cpu` or `cuda` for a training; `auto` never takes a device without float64, such as MPS.

    Args:
        device: `auto`, `cpu` or `cuda`.
        faster_on_gpu: Whether `auto` may take a GPU: this training is faster there.

    Example:
        >>> training_device("auto", faster_on_gpu=False)
        'cpu'
    """
    if device != "auto":
        return device
    return "cuda" if faster_on_gpu and torch.cuda.is_available() else "cpu"


class _Captured(nn.Module):
    """A function of a batch, with the model whose parameters it depends on."""

    def __init__(self, model: nn.Module, terms: Terms) -> None:
        super().__init__()
        self.model = model
        self.terms = terms

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        return self.terms(*batch)


def captured(model: nn.Module, terms: Terms, batch: tuple[Tensor, ...]) -> Terms:
    """The function as CUDA graphs, forward and backward; as it is where the batch is on the CPU.

    All later batches must have the shapes of this one. The tensors that it returns are overwritten
    by the next call.

    Args:
        model: The model whose parameters the function depends on.
        terms: The function; it may not look at numbers on the GPU.
        batch: A first batch, on the device of the model.
    """
    if not batch[0].is_cuda:
        return terms
    try:
        graphed: Any = torch.cuda.make_graphed_callables(
            _Captured(model, terms), batch, allow_unused_input=True
        )
    except RuntimeError as error:  # torch and CUDA raise no other
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"the training step is not a CUDA graph, and slow ({reason})", stacklevel=2)
        return terms
    return graphed
