"""Momenta for training: fresh in every step, N(0, I) in the Eckart frame.

The momenta enter the negative log-likelihood quadratically, so any p with E[p pᵀ] = I
gives an unbiased gradient of its average.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor


class Momenta(str, Enum):
    """The distributions that the momenta of a training step are drawn from.

    MAXWELL: Momenta are drawn from N(0, I), as in the paper.
    RADEMACHER: Momenta are ±1 with equal chance, which gives the same expectation with the least
        variance.
    """

    MAXWELL = "maxwell"
    RADEMACHER = "rademacher"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Momenta of the given shape, float32, on the device of the generator."""
        device = generator.device
        if self is Momenta.MAXWELL:
            return torch.randn(shape, generator=generator, device=device)
        ones = torch.randint(0, 2, shape, generator=generator, device=device)
        return ones.to(torch.float32).mul_(2).sub_(1)
