"""Samplers of a molecule of three atoms against integrals over its bonds and its angle."""

import copy
import math

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from scipy.integrate import quad

from openmm_plugin.energies.dynamics import MolecularDynamics
from openmm_plugin.energies.hamiltonian import MolecularHamiltonian
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.sampling.chains import SamplingOptions, sample_target
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.statistics import standard_error
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.training.fit import prepare
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.units import thermal_energy

KT = thermal_energy(300.0)
LENGTH, STIFF = 0.15, 2.0e4
"""The force constant of the bonds, which swing by 0.011 nm, kJ/mol/nm²."""
ANGLE, FLOPPY = 1.9, 20.0
"""The force constant of the angle, kJ/mol/rad²; it swings by 0.35 rad, so that det A changes."""
SAMPLES = {
    Method.INDEPENDENCE: 16_000,
    Method.PCN: 16_000,
    Method.HMC: 4_000,
    Method.HYBRID: 3_200,
    Method.IMPORTANCE: 16_000,
    Method.REJECTION: 16_000,
}


def triatomic_of(floppy):
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms = []
    for mass in (14.0, 16.0, 12.0):
        element = app.Element.getBySymbol("C")
        atoms.append(topology.addAtom(f"C{len(atoms)}", element, residue))
        system.addParticle(mass)
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for i, j in ((0, 1), (1, 2)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, LENGTH, STIFF)
    angles.addAngle(0, 1, 2, ANGLE, floppy)
    system.addForce(bonds)
    system.addForce(angles)
    positions = np.array([[0.15, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.05, 0.14, 0.01]])
    return MolecularHamiltonian(
        MolecularSystem(system, topology, positions * unit.nanometer), 300.0
    )


@pytest.fixture(scope="module")
def triatomic():
    return triatomic_of(FLOPPY)


@pytest.fixture(scope="module")
def floppier():
    """An angle that bends by 0.7 rad, which Cartesian modes cannot follow."""
    return triatomic_of(0.25 * FLOPPY)


@pytest.fixture(scope="module")
def bent(floppier):
    """A model of it in internal coordinates: independent bonds and angle, not trained."""
    rng = np.random.default_rng(0)
    xi = rng.normal([LENGTH, LENGTH, 1.6], [0.012, 0.012, 0.55], size=(2000, 3))
    xi = torch.from_numpy(xi[(xi[:, 2] > 0.2) & (xi[:, 2] < 3.0)])
    chart = InternalCoordinates(floppier.frame, molecule_z_matrix(floppier.molecule))
    options = TrainingOptions(
        steps=1, coupling=Coupling.SPLINE, layers=2, hidden=8, chart=Chart.INTERNAL
    )
    positions = chart.place(xi).numpy()
    return prepare(positions, floppier.molecule, 300.0, options).model


@pytest.fixture(scope="module")
def harmonic(triatomic):
    """The harmonic molecule as a model, 1.1 times too broad."""
    start = triatomic.known_start()
    flow = PointTransformation([NormalModes(start.rotation, start.shift)])
    return NeuralCanonicalTransformation(
        triatomic.molecule,
        300.0,
        triatomic.frame,
        flow,
        HarmonicPrior(start.omega / 1.1),
        FlowOptions(),
    )


def internal(positions):
    """Bonds (…, 2) in nm and the angle (…) in rad."""
    a, b = positions[..., 0, :] - positions[..., 1, :], positions[..., 2, :] - positions[..., 1, :]
    angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
    return torch.stack([a.norm(dim=-1), b.norm(dim=-1)], -1).numpy(), angle.numpy()


def moments(density, low, high, centre):
    """Mean and variance of a density over an interval."""
    norm, first, second = (
        quad(lambda t, k=k: t**k * density(t), low, high, points=[centre], epsrel=1e-11)[0]
        for k in range(3)
    )
    return first / norm, second / norm - (first / norm) ** 2


def exact_angle(floppy):
    return moments(
        lambda t: math.sin(t) * math.exp(-0.5 * floppy / KT * (t - ANGLE) ** 2),
        *(0.0, math.pi, ANGLE),
    )


EXACT_BOND = moments(
    lambda r: r * r * math.exp(-0.5 * STIFF / KT * (r - LENGTH) ** 2), 0.08, 0.22, LENGTH
)


def scores(model, hamiltonian, method, with_volume=True, floppy=FLOPPY):
    """Deviations of means and variances from the exact ones, in standard errors."""
    hamiltonian = copy.copy(hamiltonian)
    hamiltonian.frame = model.frame
    target = LatentTarget(model, ReducedHamiltonian(hamiltonian), with_volume)
    found = sample_target(target, SamplingOptions(SAMPLES[method], method, 32, 1, 50, 5))
    bonds, angle = internal(model.frame.positions(torch.from_numpy(found.x)))
    w = np.ones_like(found.energy)
    if method is Method.IMPORTANCE:
        w = np.exp(found.log_weight - found.log_weight.max())
        w /= w.mean()
    z = []
    for values, (mean, variance) in (
        (angle, exact_angle(floppy)),
        (bonds[..., 0], EXACT_BOND),
        (bonds[..., 1], EXACT_BOND),
    ):
        for x, expected in ((values, mean), ((values - mean) ** 2, variance)):
            influence = w * (x - (w * x).mean())
            z.append(float((w * x).mean() - expected) / standard_error(influence))
    return np.array(z)


@pytest.mark.statistical
@pytest.mark.parametrize("method", list(Method))
def test_every_sampler_is_exact(harmonic, triatomic, method):
    assert np.abs(scores(harmonic, triatomic, method)).max() < 3.0


@pytest.mark.statistical
@pytest.mark.parametrize("method", [method for method in Method if method is not Method.HYBRID])
def test_without_the_volume_element_it_is_wrong(harmonic, triatomic, method):
    """The hybrid is left out: its dynamics is Cartesian and needs no volume element."""
    assert np.abs(scores(harmonic, triatomic, method, with_volume=False)).max() > 3.0


@pytest.mark.statistical
@pytest.mark.parametrize("method", [Method.INDEPENDENCE, Method.IMPORTANCE, Method.HYBRID])
def test_samples_in_internal_coordinates_are_exact(bent, floppier, method):
    assert np.abs(scores(bent, floppier, method, floppy=0.25 * FLOPPY)).max() < 3.0
    if method is not Method.HYBRID:
        wrong = scores(bent, floppier, method, with_volume=False, floppy=0.25 * FLOPPY)
        assert np.abs(wrong).max() > 10.0


def test_slopes_of_the_weight_are_those_of_finite_differences(bent, floppier):
    """Through chart, superposition and OpenMM's forces: what Hamiltonian moves go by."""
    hamiltonian = copy.copy(floppier)
    hamiltonian.frame = bent.frame
    target = LatentTarget(bent, ReducedHamiltonian(hamiltonian))
    u = target.draw(16, torch.Generator().manual_seed(3))
    _, slope = target.slope(u)
    step = 1e-5
    for k in range(3):
        along = torch.zeros(3, dtype=torch.float64)
        along[k] = step
        up, down = (target.decode(u + sign * along).log_weight for sign in (1.0, -1.0))
        torch.testing.assert_close((up - down) / (2.0 * step), slope[:, k], rtol=1e-5, atol=1e-5)


def test_short_dynamics_is_reversible_and_nearly_keeps_the_energy(triatomic):
    """Its error falls with the square of the time step, and a clash is refused."""
    q = torch.zeros(64, 3, dtype=torch.float64)
    mover = MolecularDynamics(triatomic.energy_of.context, triatomic.frame, KT)
    errors = []
    for timestep, n_steps in ((1e-3, 20), (5e-4, 40)):
        there, change = mover.move(q, timestep, n_steps, torch.Generator().manual_seed(0))
        errors.append(float(change.abs().mean()))
        assert (there != 0.0).all()
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.3)
    broken, change = mover.move(q[:2], 1e3, 40, torch.Generator().manual_seed(0))
    assert torch.isfinite(broken).all()
    assert (change > 1e3).all()
