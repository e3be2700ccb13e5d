"""Writes the file that the native core reads: one safetensors file with frame, flow and modes.

It holds what `cv.pt` holds, as plain tensors: the frame in float64, the networks in float32
with their units folded into the weights, indices in int64. `docs/native.md` describes every
tensor. The metadata carry the format's number, the modes, the molecule, and a SHA-256 of the
whole file (taken with its own digits at zero), so that any altered bit is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.native_format import read_metadata, signed_file
from symplectic_cv.exporting.torsion_core import torsion_core_bytes
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.flows.coupling import AffineCoupling, Conditioner
from symplectic_cv.flows.layers import ModeOrder, NormalModes, Rotation
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import SMALLEST_BIN, SplineCoupling
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel

AFFINE, SPLINE = 0, 1


def export_core(
    model: NeuralCanonicalTransformation | TorsionModel, modes: Sequence[int], path: str | Path
) -> str:
    """Writes the chosen modes for the native core; returns the file's SHA-256 of itself.

    Args:
        model: A trained model, or modes of torsions.
        modes: The modes to export; 0 is the slowest.
        path: The file to write, `*.safetensors`.

    Raises:
        OptionError: A mode that the model does not have.
        ModelError: The flow has a layer that the core cannot express; the message names it.
        OutputError: The file exists.
    """
    path = require_free_file(Path(path))
    content = core_bytes(model, modes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return read_metadata(content, path.name)["sha256"]


def core_bytes(model: NeuralCanonicalTransformation | TorsionModel, modes: Sequence[int]) -> bytes:
    """The files that `export_core` writes."""
    if isinstance(model, TorsionModel):
        return torsion_core_bytes(model, modes)
    model.require_smooth()
    modes = model.check_modes(modes)
    omega = [float(model.omega[mode]) for mode in modes]
    return signed_file(core_tensors(model, modes), modes, omega, model.temperature, model.molecule)


@torch.no_grad()
def core_tensors(
    model: NeuralCanonicalTransformation, modes: Sequence[int]
) -> dict[str, np.ndarray]:
    """The tensors of the file, by name."""
    frame, molecule = model.frame, model.molecule
    to_modes, origin, couplings, order = _split_flow(model)
    links = spanning_links(frame.reference.cpu().numpy(), None, molecule.bonds)
    scale = frame.scale.repeat_interleave(3).unsqueeze(-1)
    tensors = {
        "atoms": np.asarray(molecule.indices, dtype=np.int64),
        "links": np.asarray(links.pairs, dtype=np.int64),
        "reference": _double(frame.reference),
        "masses": _double(frame.masses),
        "to_modes": _double(scale * to_modes),
        "origin": _double(origin),
        "chosen": _integer(order[list(modes)]),
        "omega": _double(model.omega[list(modes)]),
        "layers": np.array(
            [AFFINE if isinstance(layer, AffineCoupling) else SPLINE for layer in couplings],
            dtype=np.int64,
        ),
    }
    for k, layer in enumerate(couplings):
        parts = _affine(layer) if isinstance(layer, AffineCoupling) else _spline(layer)
        tensors.update({f"layer{k}.{name}": part for name, part in parts.items()})
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _split_flow(
    model: NeuralCanonicalTransformation,
) -> tuple[Tensor, Tensor, list[AffineCoupling | SplineCoupling], Tensor]:
    """The matrix from the frame to the first coupling, its origin, the couplings, the order."""
    flow = model.flow
    if not isinstance(flow, PointTransformation):
        raise ModelError(
            f"the native core holds point flows; this model's flow is a {type(flow).__name__}, "
            "whose coordinates mix with momenta"
        )
    start, *between, last = flow.layers
    if not isinstance(start, NormalModes) or not isinstance(last, ModeOrder):
        raise ModelError("the native core needs a flow from normal modes to an order of modes")
    rotation = start.rotation.double()
    # rotations that come first are one matrix with the normal modes
    n_turns = 0
    for layer in between:
        if not isinstance(layer, Rotation):
            break
        rotation = rotation @ layer.matrix().double()
        n_turns += 1
    couplings: list[AffineCoupling | SplineCoupling] = []
    for layer in between[n_turns:]:
        if not isinstance(layer, (AffineCoupling, SplineCoupling)):
            raise ModelError(
                f"the native core cannot express a layer {type(layer).__name__} among couplings"
            )
        if isinstance(layer, SplineCoupling) and layer.n_round + layer.n_moved_round > 0:
            raise ModelError("the native core cannot express circular spline couplings")
        couplings.append(layer)
    basis = model.frame.basis.double() @ rotation
    return basis, start.shift.double() @ rotation, couplings, last.order


def _affine(layer: AffineCoupling) -> dict[str, np.ndarray]:
    # its tanh is that of c / bound, and its shift comes in units of the spread
    n, bound = layer.n_moved, layer.scale_bound
    units = torch.cat([torch.full((n,), 1.0 / bound).double(), layer.spread_moved.double()])
    return {
        "kept": _integer(layer.kept),
        "moved": _integer(layer.moved),
        "bound": np.array([bound]),
        **_network(layer.conditioner, 1.0 / layer.spread_kept.double(), units),
    }


def _spline(layer: SplineCoupling) -> dict[str, np.ndarray]:
    n, bins = layer.n_moved, layer.bins
    last = n * (3 * bins - 1)
    network = _network(
        layer.conditioner,
        layer.reach / layer.half_kept.double(),
        torch.ones(last, dtype=torch.float64),
    )
    # slopes start from a raw value of their own
    bias = layer.conditioner.last.bias.double().clone()
    bias[2 * n * bins :] += layer.slope_start
    network["b3"] = _single(bias)
    start = torch.tensor(layer.slope_start, dtype=torch.float64)
    end = layer.least_slope + torch.nn.functional.softplus(start)
    return {
        "kept": _integer(layer.kept),
        "moved": _integer(layer.moved),
        "half_width": _double(layer.half_moved),
        "limits": np.array([SMALLEST_BIN, layer.least_slope, float(end)]),
        **network,
    }


def _network(net: Conditioner, units_in: Tensor, units_out: Tensor) -> dict[str, np.ndarray]:
    """Weights that take coordinates as they are and give outputs as they are used."""
    return {
        "w1": _single(net.first.weight.double() * units_in),
        "b1": _single(net.first.bias),
        "w2": _single(net.second.weight),
        "b2": _single(net.second.bias),
        "w3": _single(net.last.weight.double() * units_out.unsqueeze(-1)),
        "b3": _single(net.last.bias.double() * units_out),
    }


def _double(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _single(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def _integer(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().long().numpy()
