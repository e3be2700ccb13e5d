"""Potential energies and forces of many structures by OpenMM, differentiable by PyTorch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openmm
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from openmm_plugin.platforms import one_device, properties_of
from openmm_plugin.running.checkpoints import FARTHEST

FIXED_POINT = ("CUDA", "HIP", "OpenCL")
"""Platforms that sum the forces on an atom as whole numbers, which overflow at 2.1e9 kJ/mol/nm and
then point anywhere."""
CLASH = 1e6
"""The energy in kJ/mol above which atoms clash so hard that a force may overflow. Its Boltzmann
weight is zero at any temperature of a molecule."""


class MolecularEnergy:
    """Potential energies of structures of an OpenMM system, which PyTorch can differentiate.

    Args:
        system: The system; its default box where it is periodic.
        platform: The platform that OpenMM computes on; the Reference platform computes in float64.
        workers: Contexts that share the structures of a batch, each in a thread of its own;
            with several GPUs they take turns on them.

    Example:
        >>> from openmm import unit
        >>> from openmm_plugin.platforms import choose_platform
        >>> from openmm_plugin.systems import Solvent, build_system, built_in_pdb
        >>> molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
        >>> energy = MolecularEnergy(molecule.system, choose_platform(None, 22))
        >>> positions = molecule.positions.value_in_unit(unit.nanometer)
        >>> energy(torch.tensor([positions, positions])).shape
        torch.Size([2])
    """

    def __init__(self, system: openmm.System, platform: openmm.Platform, workers: int = 1) -> None:
        self.contexts = []
        for place in range(workers):
            on = one_device(platform, place) if workers > 1 else platform
            integrator = openmm.VerletIntegrator(0.001)
            self.contexts.append(openmm.Context(system, integrator, on, properties_of(on)))
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    @property
    def context(self) -> openmm.Context:
        """The first of the Contexts."""
        return self.contexts[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> MolecularEnergy:
        return self  # a Context cannot be copied, and each evaluation sets all of its state

    def __call__(self, positions: Tensor) -> Tensor:
        """Energies (B,) in kJ/mol, float64, of positions (B, N, 3) in nm.

        Where OpenMM finds no number, because atoms coincide, the energy is +inf and the
        force zero; NaN among the positions stays NaN. On a GPU energies above `CLASH` are +inf
        too, because forces overflow there.
        """
        x = positions.to("cpu", torch.float64)
        energies: Tensor = _Energies.apply(x, self, x.requires_grad and torch.is_grad_enabled())
        return energies.to(positions.device)

    def evaluate(
        self, positions: np.ndarray, with_forces: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies (B,) in kJ/mol and forces (B, N, 3) in kJ/mol/nm of positions in nm.

        Without forces those are empty.
        """
        x = np.ascontiguousarray(positions, dtype=np.float64)
        energies = np.full(len(x), np.inf)
        forces = np.zeros(x.shape if with_forces else (0, *x.shape[1:]))
        # an atom that far off can stall a search for neighbours, and NaN makes OpenMM raise
        near = (np.abs(x) < FARTHEST).all((1, 2))

        def work(context: openmm.Context, places: np.ndarray) -> None:
            for place in places:
                context.setPositions(x[place])
                state = context.getState(energy=True, forces=with_forces)
                energies[place] = state.getPotentialEnergy()._value  # kJ/mol
                if with_forces:
                    forces[place] = state.getForces(asNumpy=True)._value  # kJ/mol/nm

        places = np.flatnonzero(near)
        if self._pool is None:
            work(self.context, places)
        else:  # OpenMM lets other threads run while it computes
            shares = np.array_split(places, len(self.contexts))
            list(self._pool.map(work, self.contexts, shares))
        if self.context.getPlatform().getName() in FIXED_POINT:
            energies[energies > CLASH] = np.inf
        energies[~np.isfinite(energies)] = np.inf
        energies[np.isnan(x).any((1, 2))] = np.nan
        if with_forces:
            forces[~(np.isfinite(energies) & np.isfinite(forces).all((1, 2)))] = 0.0
        return energies, forces


class _Energies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, energy: MolecularEnergy, with_forces: bool) -> Tensor:
        energies, forces = energy.evaluate(positions.detach().numpy(), with_forces)
        ctx.save_for_backward(torch.from_numpy(forces))
        return torch.from_numpy(energies)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (forces,) = ctx.saved_tensors
        return -gradient[:, None, None] * forces, None, None
