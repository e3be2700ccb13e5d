"""Short molecular dynamics for the hybrid sampler, whose error a Metropolis decision removes."""

from __future__ import annotations

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame


class MolecularDynamics:
    """Velocity Verlet of all 3N Cartesian coordinates with fresh Maxwell momenta.

    The whole molecule moves, turns and vibrates. ½|p|²/m + U(x) changes only by the error of
    the time step. The volume element of Cartesian coordinates is 1, so the shape q follows
    π(q) ∝ |det A(q)| exp(−βU), and A need not be computed.

    Args:
        context: A context of the system and the platform to use; it is not changed.
        frame: The Eckart frame of the coordinates q.
        kt: The thermal energy kT, in kJ/mol.
    """

    timestep = 5e-4

    def __init__(self, context: openmm.Context, frame: EckartFrame, kt: float) -> None:
        self.frame, self.kt = frame, kt
        self.mass = frame.masses.cpu().numpy()
        integrator = openmm.CustomIntegrator(self.timestep)
        integrator.addComputePerDof("v", "v+0.5*dt*f/m")
        integrator.addComputePerDof("x", "x+dt*v")
        integrator.addComputePerDof("v", "v+0.5*dt*f/m")
        self.context = openmm.Context(context.getSystem(), integrator, context.getPlatform())

    def move(
        self, q: Tensor, timestep: float, n_steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `symplectic_cv.hamiltonians.base.Mover`; timestep in ps, q in ps."""
        start = self.frame.positions(q)
        noise = torch.randn(start.shape, generator=generator, dtype=torch.float64).numpy()
        velocities = noise * np.sqrt(self.kt / self.mass)[:, None]
        ends = start.numpy().copy()
        changes = np.full(len(q), np.inf)
        self.context.getIntegrator().setStepSize(timestep)
        for place, (positions, velocity) in enumerate(zip(start.numpy(), velocities, strict=True)):
            self.context.setPositions(positions)
            self.context.setVelocities(velocity)
            before = self._total_energy()
            try:
                self.context.getIntegrator().step(n_steps)
                after = self._total_energy()
            except openmm.OpenMMException:  # it blew up: not accepted
                continue
            if np.isfinite(after - before):
                ends[place] = self._state.getPositions(asNumpy=True)._value
                changes[place] = (after - before) / self.kt
        return self.frame.coordinates(torch.from_numpy(ends)), torch.from_numpy(changes)

    def _total_energy(self) -> float:
        """Potential and kinetic energy at the same time, kJ/mol."""
        self._state = self.context.getState(positions=True, velocities=True, energy=True)
        velocities = self._state.getVelocities(asNumpy=True)
        speed = velocities.value_in_unit(unit.nanometer / unit.picosecond)
        kinetic = 0.5 * float((self.mass[:, None] * speed**2).sum())
        return float(self._state.getPotentialEnergy()._value) + kinetic
