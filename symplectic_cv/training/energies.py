"""Energies of the frames of a training, from an array or a Hamiltonian."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.units import thermal_energy

Energies: TypeAlias = (
    np.ndarray | Hamiltonian | Callable[[EckartFrame], Hamiltonian | ReducedHamiltonian]
)
"""Energies of frames: potential energies in kJ/mol, shape (F,); or the Hamiltonian of a molecule
(one with a `frame`); or a function that makes a Hamiltonian in the frame of the model."""

PART = 8192


@torch.no_grad()
def frame_energies(energies: Energies, frame: EckartFrame, q: Tensor, temperature: float) -> Tensor:
    """βU of frames, shape (F,), in nats, in float64.

    Args:
        energies: The energies, or the Hamiltonian that gives them.
        frame: The frame of the model.
        q: Coordinates of the frames in it, shape (F, n), in ps.
        temperature: The temperature of the model, in K.

    Raises:
        OptionError: The energies are not one number per frame.
        HamiltonianError: A frame has no finite energy.
    """
    if isinstance(energies, Hamiltonian):
        own = getattr(energies, "frame", None)
        if own is None:
            raise OptionError(
                f"`energies`: the Hamiltonian {energies.name} has no molecular frame; give "
                "energies in kJ/mol, one per frame"
            )
        name = energies.name
        parts = [energies.potential(own.coordinates(frame.positions(x))) for x in q.split(PART)]
        found = torch.cat(parts)
    elif callable(energies):
        made = energies(frame)
        reduced = made if isinstance(made, ReducedHamiltonian) else ReducedHamiltonian(made)
        name = reduced.hamiltonian.name
        potential = reduced.hamiltonian.potential
        found = reduced.beta * torch.cat([potential(part) for part in q.split(PART)])
    else:
        name = "`energies`"
        values = np.asarray(energies)
        if values.shape != (len(q),) or not np.issubdtype(values.dtype, np.number):
            raise OptionError(
                f"`energies` has shape {values.shape} and type {values.dtype}; give one potential "
                f"energy in kJ/mol for each of the {len(q)} frames"
            )
        found = torch.as_tensor(values.astype(np.float64) / thermal_energy(temperature))
    lost = torch.nonzero(~torch.isfinite(found))[:, 0]
    if len(lost):
        raise HamiltonianError(
            f"{name}: {len(lost)} frames have no finite energy (the first is "
            f"frame {int(lost[0])}): are they of this system?"
        )
    return found
