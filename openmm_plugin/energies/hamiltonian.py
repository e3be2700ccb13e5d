"""Molecules as Hamiltonians to learn from: OpenMM gives the energies and the forces."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
import torch
from openmm import unit
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from openmm_plugin.energies.dynamics import MolecularDynamics
from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.platforms import choose_platform
from openmm_plugin.systems import MolecularSystem, load_system
from symplectic_cv.charts.eckart import EckartFrame, eckart_matrix
from symplectic_cv.data.torsions import compute_torsions, find_torsions
from symplectic_cv.errors import HamiltonianError, OptionError, SelectionError
from symplectic_cv.flows.canonical import CanonicalTransformation
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.hamiltonians.base import Descriptor, Hamiltonian, Start
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.molecule import Molecule
from symplectic_cv.units import thermal_energy

SOFTEST = 5.0
"""Least frequency of the start, rad/ps (27 cm⁻¹): a carbon atom then swings by 0.1 nm. Directions
that are softer, or that bend down, start narrower than they are, never so broad that atoms meet."""
FORCE_TOLERANCE = 1e-3
"""The force in kJ/mol/nm at which OpenMM's minimisation ends; a search in q follows."""
HESSIAN_STEP = 1e-5
"""The step of the finite differences in ps, about 1e-5 nm."""


class MolecularHamiltonian(Hamiltonian):
    """All atoms of a molecule in vacuum or implicit solvent, at one temperature.

    In the Eckart frame of its minimum, q = Uᵀ √(m/kT) (y − r) in ps, βH = ½|p|² + U/kT in
    nats, and |det A(q)| is the volume element (`symplectic_cv.charts.eckart`). The rotation of the
    superposition is unique only where A is positive definite. Beyond lie three more images
    of every structure, turned by half a turn: there the volume element counts as zero.

    Args:
        molecule: The system, its topology, and a structure near the minimum to start in.
        temperature: K.
        name: The name of the file, for messages.
        platform: The name of OpenMM's platform; the fastest for its size where None. The minimum
            and the curvature are computed on the Reference platform in any case.
        workers: Contexts that compute at once.
        frame: The frame of a model of the same atoms, in whose coordinates the energy is wanted;
            the frame of the minimum where None.

    Raises:
        HamiltonianError: Constraints, a box, virtual sites, fewer than three atoms, a
            linear molecule, another frame's atoms, or an energy that is not invariant or has
            no minimum.

    Example:
        >>> from openmm_plugin.systems import Solvent, build_system, built_in_pdb
        >>> pdb = built_in_pdb("alanine-dipeptide")
        >>> molecule = build_system(pdb, Solvent.VACUUM, flexible=True)
        >>> MolecularHamiltonian(molecule, 300.0).dimension
        60
    """

    time_unit = "ps"
    length_unit = "ps"

    def __init__(
        self,
        molecule: MolecularSystem,
        temperature: float,
        name: str = "molecule",
        platform: str | None = None,
        frame: EckartFrame | None = None,
        workers: int = 1,
    ) -> None:
        self.name = name
        self.temperature = temperature
        self.kt = thermal_energy(temperature)
        n_atoms = molecule.system.getNumParticles()
        masses = _require_flexible(molecule, name)
        self.molecule = Molecule(
            topology=md.Topology.from_openmm(molecule.topology),
            masses=masses,
            indices=np.arange(n_atoms),
            n_system_atoms=n_atoms,
        )
        where = choose_platform(platform, n_atoms)
        self.energy_of = MolecularEnergy(molecule.system, where, workers)
        self._exact = self.energy_of
        if self.energy_of.context.getPlatform().getName() != "Reference":
            self._exact = MolecularEnergy(molecule.system, choose_platform("Reference", n_atoms))
        self._torsions = find_torsions(self.molecule)
        start = np.array(molecule.positions.value_in_unit(unit.nanometer))
        self._require_invariant(start)
        if frame is None:
            self.frame = self._frame_of_minimum(start)
        else:
            self._require_same_atoms(frame)
            self.frame = copy.deepcopy(frame)
        self.dimension = self.frame.dimension

    def potential(self, q: Tensor) -> Tensor:
        """U/kT in nats, (B,) in float64, of q (B, 3N−6) in ps; +inf where atoms coincide."""
        return self.energy_of(self.frame.positions(q.cpu())).to(q.device) / self.kt

    def log_volume(self, q: Tensor) -> Tensor:
        """ln |det A(q)|, (B,) in float64, 0 at the minimum; −inf beyond the frame."""
        here = q.to("cpu", torch.float64)
        frame = self.frame
        with torch.no_grad():
            a = eckart_matrix(frame.positions(here), frame.reference, frame.masses)
            unique = torch.linalg.cholesky_ex(a)[1] == 0
        # a point beyond the limit is evaluated at the minimum, because a singular A has no gradient
        inside = torch.where(unique.unsqueeze(-1), here, torch.zeros_like(here))
        log_volume = frame.log_volume(inside)
        beyond = torch.full_like(log_volume, -math.inf)
        return torch.where(unique, log_volume, beyond).to(q.device)

    def known_start(self, beta: float = 1.0, scale: float | None = None) -> Start:
        """The harmonic molecule in its minimum, softest mode first.

        Its Hessian is that of the potential alone: the volume element changes little over
        a stiff molecule, and over a floppy one it is for the flow to learn. Frequencies
        below `SOFTEST` are raised to it.
        """
        curvature, rotation = torch.linalg.eigh(self.hessian())
        omega = (curvature * beta / (beta if scale is None else scale)).clamp_min(SOFTEST**2).sqrt()
        origin = torch.zeros(1, self.dimension, dtype=torch.float64)
        with torch.no_grad():
            energy = beta * float(self.potential(origin))
        return Start(
            shift=origin[0],
            rotation=rotation,
            omega=omega,
            spread=1.0 / omega,
            energy=energy,
            cold=1.0,
            learn_rotation=False,
        )

    def model(
        self, flow: CanonicalTransformation, prior: HarmonicPrior, options: FlowOptions
    ) -> NeuralCanonicalTransformation:
        """A model of the molecule, as one that was learned from a trajectory.

        Raises:
            OptionError: A flow other than a point transformation.
        """
        if not isinstance(flow, PointTransformation):
            raise OptionError(
                f"`flow` {options.flow.value}: the modes of a molecule must be functions of its "
                "coordinates alone; use `flow` point"
            )
        # a copy, because a model moves between devices
        frame = copy.deepcopy(self.frame)
        return NeuralCanonicalTransformation(
            self.molecule, self.temperature, frame, flow, prior, options
        )

    def mover(self) -> MolecularDynamics:
        """Dynamics of all Cartesian coordinates by OpenMM."""
        return MolecularDynamics(self.energy_of.context, self.frame, self.kt)

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        """The backbone torsions; empty where the molecule has none."""
        with torch.no_grad():
            positions = self.frame.positions(q.cpu()).numpy()
        values = torch.from_numpy(compute_torsions(positions, self._torsions, self.molecule))
        return {
            torsion.name: Descriptor(values[:, place], "rad", circular=True)
            for place, torsion in enumerate(self._torsions)
        }

    def hessian(self) -> Tensor:
        """Second derivatives of U/kT with respect to q at the minimum, (n, n) in 1/ps²."""
        step = HESSIAN_STEP * torch.eye(self.dimension, dtype=torch.float64)
        up, down = (self._value_and_slope(self.frame, sign * step)[1] for sign in (1.0, -1.0))
        hessian = torch.from_numpy(up - down) / (2.0 * HESSIAN_STEP)
        return 0.5 * (hessian + hessian.T)

    def _value_and_slope(self, frame: EckartFrame, q: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """U/kT (B,) and its gradient (B, n) on the Reference platform."""
        x = q.detach().clone().requires_grad_(True)
        value = self._exact(frame.positions(x)) / self.kt
        (slope,) = torch.autograd.grad(value.sum(), x)
        return value.detach().numpy(), slope.numpy()

    def _require_invariant(self, positions: np.ndarray) -> None:
        turned = Rotation.from_rotvec([0.7, -1.1, 0.4]).apply(positions) + 0.3
        energies, forces = self._exact.evaluate(np.stack([positions, turned]))
        if not np.isfinite(energies).all():
            raise HamiltonianError(
                f"{self.name}: the energy of its structure is not finite: give another structure, "
                "in which no atoms coincide"
            )
        tolerance = 1e-6 * max(1.0, float(np.abs(energies).max()), float(np.abs(forces).max()))
        if abs(energies[1] - energies[0]) > tolerance:
            raise HamiltonianError(
                f"{self.name}: the energy changes by {energies[1] - energies[0]:.3g} kJ/mol when "
                "the molecule is moved and turned: remove restraints and other external forces"
            )

    def _require_same_atoms(self, frame: EckartFrame) -> None:
        n_atoms = len(self.molecule.masses)
        if frame.n_atoms != n_atoms:
            raise HamiltonianError(
                f"{self.name}: has {n_atoms} atoms, the model {frame.n_atoms}: not the model's "
                "molecule, or a model of part of it, and an energy needs all atoms: give the "
                "model's own system.xml, or a model of all atoms"
            )
        other = np.flatnonzero(np.abs(frame.masses.cpu().numpy() - self.molecule.masses) > 0.01)
        if len(other):
            raise HamiltonianError(
                f"{self.name}: atom {other[0] + 1} has {self.molecule.masses[other[0]]:.3f} Da, "
                f"the model's {float(frame.masses[other[0]]):.3f} Da: it is not the system of "
                "this model, or its hydrogen masses were repartitioned"
            )

    def _frame_of_minimum(self, positions: np.ndarray) -> EckartFrame:
        """The frame whose reference is the minimum near a structure."""
        context = self._exact.context
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context, FORCE_TOLERANCE, 0)
        near = context.getState(positions=True).getPositions(asNumpy=True)
        frame = self._frame(torch.tensor(near.value_in_unit(unit.nanometer)))

        def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self._value_and_slope(frame, torch.from_numpy(x)[None])
            return float(value[0]), slope[0]

        found = minimize(
            value_and_slope,
            np.zeros(frame.dimension),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 0.0, "gtol": 1e-7, "maxiter": 20_000, "maxfun": 20_000},
        )
        if not (np.isfinite(found.x).all() and math.isfinite(found.fun)):
            raise HamiltonianError(
                f"{self.name}: no minimum of the energy near its structure; give another one"
            )
        return self._frame(frame.positions(torch.from_numpy(found.x)))

    def _frame(self, reference: Tensor) -> EckartFrame:
        try:
            return EckartFrame(reference, torch.tensor(self.molecule.masses), self.temperature)
        except SelectionError as error:
            raise HamiltonianError(
                f"{self.name}: the molecule is linear at its minimum, which leaves its rotation "
                "undefined; only bent molecules can be learned from their Hamiltonian"
            ) from error


def _require_flexible(molecule: MolecularSystem, name: str) -> np.ndarray:
    """Masses (N,) in Da of a system of which every atom moves freely.

    Raises:
        HamiltonianError: One that has a box, constraints or massless particles.
    """
    system = molecule.system
    n_atoms = system.getNumParticles()
    if molecule.periodic:
        raise HamiltonianError(
            f"{name}: has a periodic box; a Hamiltonian to learn from is one molecule in vacuum "
            "or implicit solvent: simulate with `solvent` vacuum or implicit, and `flexible`"
        )
    if system.getNumConstraints() > 0:
        raise HamiltonianError(
            f"{name}: has {system.getNumConstraints()} constraints, and a Hamiltonian to learn "
            "from none: simulate with `flexible`, which writes such a system.xml"
        )
    masses = np.array(
        [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(n_atoms)]
    )
    for index in range(n_atoms):
        if system.isVirtualSite(index) or not masses[index] > 0.0:
            raise HamiltonianError(
                f"{name}: particle {index + 1} is a virtual site or has no mass: choose a force "
                "field (`forcefield`) without such particles"
            )
    if n_atoms < 3:
        raise HamiltonianError(
            f"{name}: has {n_atoms} atoms, a molecular frame needs at least 3: choose a larger "
            "molecule"
        )
    return masses


def load_hamiltonian(
    system: Path,
    top: Path | None,
    temperature: float,
    frame: EckartFrame | None = None,
    platform: str | None = None,
    workers: int = 1,
    trust_system: bool = False,
) -> MolecularHamiltonian:
    """The molecule of a system.xml at a temperature; see `MolecularHamiltonian`, `load_system`."""
    molecule = load_system(system, top, trust_system)
    return MolecularHamiltonian(molecule, temperature, str(system), platform, frame, workers)
