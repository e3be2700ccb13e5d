"""Molecules as Hamiltonians: energies, the minimum, and the measure that det A gives."""

import copy
import math

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from openmm_plugin.energies.hamiltonian import SOFTEST, MolecularHamiltonian
from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.platforms import choose_platform
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.flows.options import Flow, FlowOptions
from symplectic_cv.hamiltonians.base import check_hamiltonian
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.training.polish import validation_bound
from symplectic_cv.training.variational import (
    VariationalOptions,
    prepare_variational,
    train_variational,
)
from symplectic_cv.units import thermal_energy

KT = thermal_energy(300.0)
BOND = {"length": 0.15, "k": 2.0e4}
"""The force constant of the triatomic molecule: a bond swings by 0.011 nm, kJ/mol/nm²."""
ANGLE = {"angle": 1.9, "k": 20.0}
"""A floppy one: it swings by 0.35 rad, kJ/mol/rad²."""
MASSES = (14.0, 16.0, 12.0)
BENT = np.array([[0.15, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.05, 0.14, 0.01]])
CHAIN = np.array([[0.16, 0.01, 0.0], [0.0, 0.0, 0.0], [-0.05, 0.14, 0.0], [-0.2, 0.15, 0.08]])


def made_up(masses, positions, *forces):
    """A molecule of one residue with these forces."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("MOL", topology.addChain())
    for index, mass in enumerate(masses):
        topology.addAtom(f"C{index}", app.Element.getBySymbol("C"), residue)
        system.addParticle(mass)
    for force in forces:
        system.addForce(force)
    return MolecularSystem(system, topology, np.asarray(positions) * unit.nanometer)


def bonds(*pairs, length=BOND["length"], k=BOND["k"]):
    force = openmm.HarmonicBondForce()
    for i, j in pairs:
        force.addBond(i, j, length, k)
    return force


def angles(*triples, angle=ANGLE["angle"], k=ANGLE["k"]):
    force = openmm.HarmonicAngleForce()
    for triple in triples:
        force.addAngle(*triple, angle, k)
    return force


def bent_triatomic(positions=BENT, **angle):
    return made_up(MASSES, positions, bonds((0, 1), (1, 2)), angles((0, 1, 2), **angle))


def angle_of(positions):
    a, b = positions[..., 0, :] - positions[..., 1, :], positions[..., 2, :] - positions[..., 1, :]
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def chain_potential(x):
    """Energy in kJ/mol of the chain of four atoms below, by hand, (12,) → ()."""
    a, b, c, d = x.reshape(4, 3)
    u, v, w = b - a, c - b, d - c
    total = sum(0.5 * 3.0e4 * (s.norm() - 0.15) ** 2 for s in (u, v, w))
    for s, t in ((-u, v), (-v, w)):
        theta = torch.acos((s * t).sum() / (s.norm() * t.norm()))
        total = total + 0.5 * 200.0 * (theta - 1.9) ** 2
    m, n = torch.linalg.cross(u, v), torch.linalg.cross(v, w)
    phi = torch.atan2((torch.linalg.cross(m, n) * v).sum() / v.norm(), (m * n).sum())
    return total + 6.0 * (1.0 + torch.cos(2.0 * phi - 1.0))


@pytest.fixture(scope="module")
def dipeptide_molecule():
    return build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)


@pytest.fixture(scope="module")
def alanine(dipeptide_molecule):
    return MolecularHamiltonian(dipeptide_molecule, 300.0, "system.xml")


@pytest.fixture(scope="module")
def structures(alanine):
    """Eight structures of the dipeptide near its minimum, turned and moved, (8, 22, 3)."""
    rng = np.random.default_rng(3)
    x = alanine.frame.reference.numpy() + 0.004 * rng.normal(size=(8, 22, 3))
    turns = Rotation.random(8, rng=rng).as_matrix()
    return torch.from_numpy(np.einsum("fab,fib->fia", turns, x) + rng.normal(size=(8, 1, 3)))


@pytest.fixture(scope="module")
def triatomic():
    return MolecularHamiltonian(bent_triatomic(), 300.0)


@pytest.fixture(scope="module")
def chain():
    """Four atoms in a row, whose torsion has minima at ±π/2 + ½."""
    torsion = openmm.PeriodicTorsionForce()
    torsion.addTorsion(0, 1, 2, 3, 2, 1.0, 6.0)
    molecule = made_up(
        (14.0, 12.0, 13.0, 1.5),
        CHAIN,
        bonds((0, 1), (1, 2), (2, 3), k=3.0e4),
        angles((0, 1, 2), (1, 2, 3), k=200.0),
        torsion,
    )
    return MolecularHamiltonian(molecule, 300.0)


def test_energies_and_forces_are_those_of_openmm(dipeptide_molecule, alanine, structures):
    context = openmm.Context(
        copy.deepcopy(dipeptide_molecule.system),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    x = structures.clone().requires_grad_(True)
    energies = alanine.energy_of(x)
    weights = torch.arange(1.0, 9.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * energies).sum(), x)
    for place, structure in enumerate(structures.numpy()):
        context.setPositions(structure)
        state = context.getState(energy=True, forces=True)
        expected = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
        assert float(energies[place].detach()) == pytest.approx(expected, rel=1e-12)
        forces = state.getForces(asNumpy=True)
        forces = forces.value_in_unit(unit.kilojoules_per_mole / unit.nanometer)
        np.testing.assert_allclose(gradient[place], -(place + 1.0) * forces, rtol=1e-12)


def test_a_pool_of_contexts_computes_the_same(dipeptide_molecule, alanine, structures):
    pool = MolecularEnergy(dipeptide_molecule.system, choose_platform("Reference", 22), 3)
    assert len(pool.contexts) == 3
    for count in (8, 2):  # fewer than Contexts as well
        found = pool.evaluate(structures[:count].numpy())
        expected = alanine.energy_of.evaluate(structures[:count].numpy())
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_energy_by_hand(chain):
    x = torch.from_numpy(CHAIN)
    found = chain.energy_of(x[None])
    assert float(found[0]) == pytest.approx(float(chain_potential(x)), rel=1e-12)


def test_gradients_in_q_are_those_of_finite_differences(alanine):
    start = alanine.known_start()
    noise = torch.randn(2, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    q = 0.3 * (noise / start.omega) @ start.rotation.T
    x = q.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(alanine.potential(x).sum(), x)
    step = 1e-6 * torch.randn(60, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        change = alanine.potential(q + step) - alanine.potential(q - step)
    torch.testing.assert_close(2.0 * slope @ step, change, rtol=1e-6, atol=1e-9)


def test_energies_of_q_are_those_of_the_structure_wherever_it_lies(alanine, structures):
    q = alanine.frame.coordinates(structures)
    expected = alanine.energy_of(structures) / KT
    torch.testing.assert_close(alanine.potential(q), expected, rtol=1e-10, atol=1e-8)


def test_single_precision_gives_its_gradients_back(alanine):
    reduced = ReducedHamiltonian(alanine)
    q = 1e-3 * torch.randn(4, 60, generator=torch.Generator().manual_seed(0))
    slopes = []
    for dtype in (torch.float32, torch.float64):
        x = q.to(dtype).requires_grad_(True)
        energy = reduced.energy(torch.ones_like(x), x)
        assert energy.dtype == torch.float64
        slopes += torch.autograd.grad(energy.sum(), x)
        assert slopes[-1].dtype == dtype
    torch.testing.assert_close(slopes[0].double(), slopes[1], rtol=1e-5, atol=1e-3)


def test_a_clash_is_infinite_and_pulls_at_nothing(alanine, structures):
    x = structures[:4].clone()
    x[1, 5] = x[1, 12]  # coincide
    x[2, 3] = math.inf
    x[3, 3] = math.nan
    x.requires_grad_(True)
    energies = alanine.energy_of(x)
    assert torch.isposinf(energies[1:3]).all()
    assert torch.isnan(energies[3])
    torch.testing.assert_close(energies[:1], alanine.energy_of(structures[:1]))
    (gradient,) = torch.autograd.grad(energies.nan_to_num(0.0, 0.0).sum(), x)
    assert (gradient[0] != 0.0).any()
    assert (gradient[1:] == 0.0).all()


def test_a_near_clash_is_huge_and_capped_to_a_finite_slope(alanine, structures):
    x = structures[:1].clone()
    x[0, 5] = x[0, 12] + 1e-4
    q = alanine.frame.coordinates(x).float().requires_grad_(True)
    reduced = ReducedHamiltonian(alanine, floor=-40.0)
    energy = reduced.energy(torch.zeros_like(q), q)
    assert 1e20 < float(energy.detach()) < math.inf
    capped = reduced.capped(energy)
    assert 900.0 < float(capped.detach()) < 1100.0
    (gradient,) = torch.autograd.grad(capped.sum(), q)
    assert torch.isfinite(gradient).all()


def test_copies_share_the_context(alanine):
    other = copy.deepcopy(alanine)
    q = torch.zeros(1, 60, dtype=torch.float64)
    assert other.energy_of is alanine.energy_of
    torch.testing.assert_close(other.potential(q), alanine.potential(q))


def test_learning_starts_in_a_minimum_of_no_slope(alanine, triatomic, chain):
    for hamiltonian in (alanine, triatomic, chain):
        check_hamiltonian(hamiltonian)
        start = hamiltonian.known_start()
        q = start.shift.clone().requires_grad_(True)
        assert (q == 0.0).all()
        value = hamiltonian.potential(q[None]).sum()
        assert start.energy == pytest.approx(float(value.detach()), abs=1e-9)
        (slope,) = torch.autograd.grad(value, q)
        assert float((slope @ start.rotation / start.omega).abs().max()) < 1e-5
        assert (start.omega.diff() >= 0.0).all()
        assert float(hamiltonian.log_volume(q[None]).detach()) == pytest.approx(0.0, abs=1e-12)


def test_frequencies_are_those_of_the_cartesian_hessian(chain):
    """The frequencies of the potential written by hand, at the minimum; the first six vanish."""
    x = chain.frame.reference
    root = chain.frame.masses.sqrt().repeat_interleave(3)
    hessian = torch.autograd.functional.hessian(chain_potential, x.reshape(-1))
    curvature = torch.linalg.eigvalsh(hessian / root / root[:, None])
    torch.testing.assert_close(curvature[:6].abs().max().item(), 0.0, rtol=0.0, atol=1e-3)
    start = chain.known_start()
    torch.testing.assert_close(start.omega.square(), curvature[6:], rtol=1e-6, atol=1e-3)
    rotated = start.rotation.T @ chain.hessian() @ start.rotation
    torch.testing.assert_close(
        rotated, torch.diag(start.omega.square()), rtol=1e-6, atol=1e-6 * float(curvature[-1])
    )


def test_at_another_temperature_the_start_scales(chain):
    """β = ¼ doubles widths in q; in the variables of that β nothing but the energy changes."""
    plain = chain.known_start()
    same = chain.known_start(0.25)
    wide = chain.known_start(0.25, scale=1.0)
    torch.testing.assert_close(same.omega, plain.omega)
    torch.testing.assert_close(wide.omega, 0.5 * plain.omega)
    assert same.energy == pytest.approx(0.25 * plain.energy)


def test_a_soft_direction_starts_no_broader_than_the_softest():
    soft = MolecularHamiltonian(bent_triatomic(k=0.01), 300.0)
    start = soft.known_start()
    curvature = torch.linalg.eigvalsh(soft.hessian())
    assert 0.0 < float(curvature[0]) < 0.25 * SOFTEST**2
    assert float(start.omega[0]) == pytest.approx(SOFTEST)
    assert float(start.omega[1]) == pytest.approx(float(curvature[1].sqrt()))


def cartesian_moments():
    """ln ∫ r₁² r₂² sin θ exp(−U/kT) dr₁ dr₂ dθ, and the mean of θ, of the triatomic molecule."""

    def bond(r):
        return r * r * math.exp(-0.5 * BOND["k"] / KT * (r - BOND["length"]) ** 2)

    def angle(t, power=0):
        weight = math.exp(-0.5 * ANGLE["k"] / KT * (t - ANGLE["angle"]) ** 2)
        return t**power * math.sin(t) * weight

    radial = quad(bond, 0.0, 0.4, points=[BOND["length"]], epsrel=1e-12)[0]
    angular = quad(angle, 0.0, math.pi, epsrel=1e-12)[0]
    mean = quad(lambda t: angle(t, 1), 0.0, math.pi, epsrel=1e-12)[0] / angular
    return 2.0 * math.log(radial) + math.log(angular), mean


def rigid_volume(hamiltonian):
    """ln of d³ᴺx / (dq exp(log_volume) dΩ dX), from the mass-weighted coordinates.

    Moving by X counts (M/kT)^{3/2}, turning |det A(q)| / √det A(0) / kT^{3/2}.
    """
    m = hamiltonian.frame.masses
    r = hamiltonian.frame.reference
    inertia = ((r * r).sum(-1) * m).sum() * torch.eye(3, dtype=torch.float64) - (r.T * m) @ r
    weighted = 1.5 * (KT / m).log().sum() + 1.5 * m.sum().log() - 3.0 * math.log(KT)
    return float(weighted + 0.5 * torch.logdet(inertia))


@pytest.fixture(scope="module")
def grid(triatomic):
    """Points q (K, 3) of a grid along the normal modes, and the volume of a cell."""
    start = triatomic.known_start()
    axes = [
        torch.linspace(-9.0, 9.0, 72, dtype=torch.float64),
        torch.linspace(-9.0, 9.0, 48, dtype=torch.float64),
        torch.linspace(-9.0, 9.0, 48, dtype=torch.float64),
    ]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes) / float(start.omega.prod())
    return (torch.cartesian_prod(*axes) / start.omega) @ start.rotation.T, cell


@pytest.mark.statistical
def test_the_volume_element_makes_means_and_free_energies_exact(triatomic, grid):
    """Against an integral over bonds and angle, without any frame or superposition."""
    q, cell = grid
    potential, log_volume = triatomic.potential(q), triatomic.log_volume(q)
    log_integral, mean = cartesian_moments()
    log_weights = log_volume - potential
    angle = angle_of(triatomic.frame.positions(q))
    found = float(torch.softmax(log_weights, 0) @ angle)
    assert found == pytest.approx(mean, abs=2e-4)
    total = float(torch.logsumexp(log_weights, 0)) + math.log(cell) + rigid_volume(triatomic)
    assert total == pytest.approx(log_integral, abs=1e-3)
    without = float(torch.softmax(-potential, 0) @ angle)
    assert abs(without - mean) > 0.02


def test_half_turns_of_a_structure_do_not_count_again(triatomic):
    """They meet the Eckart conditions, with the same energy; the superposition is not theirs."""
    frame = triatomic.frame
    r, m = frame.reference, frame.masses
    axes = torch.linalg.eigh((r.T * m) @ r)[1].T
    turned = torch.stack([r @ (2.0 * torch.outer(a, a) - torch.eye(3).double()) for a in axes])
    scaled = (frame.scale[:, None] * (turned - r)).flatten(-2)
    q = scaled @ frame.basis
    torch.testing.assert_close(frame.positions(q), turned, rtol=0.0, atol=1e-12)
    least = triatomic.potential(torch.zeros(1, 3, dtype=torch.float64)).expand(3)
    torch.testing.assert_close(triatomic.potential(q), least)
    assert torch.isneginf(triatomic.log_volume(q)).all()
    assert torch.isfinite(frame.log_volume(q)).any()
    x = q.float().requires_grad_(True)
    reduced = ReducedHamiltonian(triatomic, floor=0.0)
    capped = reduced.capped(reduced.energy(torch.zeros_like(x), x))
    assert torch.isfinite(capped).all()
    assert torch.isfinite(torch.autograd.grad(capped.sum(), x)[0]).all()


@pytest.mark.slow
def test_a_training_lowers_the_bound_towards_the_free_energy(triatomic):
    """−ln Z is known: the integral over bonds and angle, without the rigid motion."""
    options = VariationalOptions(
        FlowOptions(layers=4, hidden=16), steps=300, batch=128, device="cpu"
    )
    prepared = prepare_variational(triatomic, options)
    harmonic, harmonic_error = validation_bound(prepared.model, prepared.reduced)
    result = train_variational(prepared)
    learned, error = validation_bound(result.model, result.reduced)
    log_integral, _ = cartesian_moments()
    exact = -(log_integral - rigid_volume(triatomic)) - 1.5 * math.log(2.0 * math.pi)
    assert harmonic > exact + 0.05
    assert learned < harmonic - 5.0 * math.hypot(error, harmonic_error)
    assert exact - 4.0 * error < learned < exact + 0.04


def test_the_model_is_one_of_a_molecule(alanine):
    options = VariationalOptions(FlowOptions(layers=2, hidden=8), steps=1)
    prepared = prepare_variational(alanine, options)
    model = prepared.model
    assert isinstance(model, NeuralCanonicalTransformation)
    assert model.frame is not alanine.frame
    assert model.molecule.n_atoms == model.molecule.n_system_atoms == 22
    assert len(model.molecule.bonds) == 21
    assert float(model.encode(alanine.frame.reference[None]).detach().abs().max()) < 1e-5
    assert prepared.start.omega[0] > SOFTEST


def test_flows_that_mix_momenta_are_refused(alanine):
    options = VariationalOptions(FlowOptions(flow=Flow.LINEAR), steps=1)
    with pytest.raises(OptionError, match="use `flow` point"):
        prepare_variational(alanine, options)


def test_backbone_torsions_describe_it(alanine, structures):
    q = alanine.frame.coordinates(structures)
    found = alanine.descriptors(q)
    assert list(found) == ["phi", "psi"]
    i, j, k, m = (structures[:, place] for place in (4, 6, 8, 14))
    u, v, w = j - i, k - j, m - k
    a, b = torch.linalg.cross(u, v), torch.linalg.cross(v, w)
    phi = torch.atan2((torch.linalg.cross(a, b) * v).sum(-1) / v.norm(dim=-1), (a * b).sum(-1))
    torch.testing.assert_close(found["phi"].values, phi, rtol=0.0, atol=1e-4)
    assert found["phi"].circular
    assert found["phi"].unit == "rad"


def test_implicit_solvent_is_a_hamiltonian():
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.IMPLICIT, flexible=True)
    check_hamiltonian(MolecularHamiltonian(molecule, 300.0))


def test_the_named_platform_computes():
    energy = MolecularEnergy(bent_triatomic().system, choose_platform("CPU", 3))
    exact = MolecularEnergy(bent_triatomic().system, choose_platform("Reference", 3))
    x = torch.from_numpy(BENT)[None]
    torch.testing.assert_close(energy(x), exact(x), rtol=1e-4, atol=1e-3)
    hamiltonian = MolecularHamiltonian(bent_triatomic(), 300.0, platform="CPU")
    assert hamiltonian.energy_of.context.getPlatform().getName() == "CPU"
    reference = MolecularHamiltonian(bent_triatomic(), 300.0)
    torch.testing.assert_close(hamiltonian.hessian(), reference.hessian())


def _constrained():
    return build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)


def _periodic():
    force = bonds((0, 1), (1, 2))
    force.setUsesPeriodicBoundaryConditions(True)
    return made_up(MASSES, BENT, force)


def _virtual():
    molecule = made_up((14.0, 16.0, 12.0, 0.0), CHAIN, bonds((0, 1), (1, 2)))
    molecule.system.setVirtualSite(3, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    return molecule


def _restrained():
    force = openmm.CustomExternalForce("100 * x^2")
    force.addParticle(0)
    molecule = bent_triatomic()
    molecule.system.addForce(force)
    return molecule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_constrained, "12 constraints.*`flexible`"),
        (_periodic, "periodic box.*`solvent` vacuum or implicit"),
        (_virtual, "particle 4 is a virtual site.*`forcefield`"),
        (lambda: made_up((14.0, 0.0, 12.0), BENT), "particle 2 is a virtual site or has no mass"),
        (lambda: made_up((14.0, 12.0), BENT[:2], bonds((0, 1))), "2 atoms.*at least 3"),
        (lambda: bent_triatomic(angle=math.pi, k=100.0), "linear at its minimum"),
        (_restrained, "moved and turned: remove restraints"),
        (
            lambda: bent_triatomic(np.full((3, 3), np.nan)),
            "energy of its structure is not finite",
        ),
    ],
)
def test_systems_that_cannot_be_learned_from(make, message):
    with pytest.raises(HamiltonianError, match=message) as info:
        MolecularHamiltonian(make(), 300.0, "system.xml")
    assert str(info.value).startswith("system.xml: ")


def test_a_temperature_must_be_positive():
    with pytest.raises(OptionError, match="`temperature`"):
        MolecularHamiltonian(bent_triatomic(), 0.0)
