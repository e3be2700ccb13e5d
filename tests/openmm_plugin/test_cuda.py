"""What must hold on a GPU as it does on the Reference platform; skipped where there is none.

SCV_TEST_PLATFORM names another platform, to run these tests without a GPU.
"""

import itertools
import os
import subprocess
import sys
import time

import mdtraj as md
import numpy as np
import openmm
import pytest
import torch
from openmm import unit
from scattered import (
    BOXES,
    INDICES,
    KJ,
    MODES,
    OTHERS,
    context_of,
    energy_and_forces,
    free_system,
    scatter,
    wrap,
)

from openmm_plugin import versions
from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.biasing.run import run_metadynamics
from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.forces import mode_forces
from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.rotation import rotation_in_closed_form, superposing_rotation
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.native_core import load_core
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import select_atoms
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.options import TrainingOptions

PLATFORM = os.environ.get("SCV_TEST_PLATFORM", "CUDA")
PRECISIONS = {"single": (2e-3, 2e-2), "mixed": (2e-3, 2e-2), "double": (1e-5, 1e-4)}
"""Tolerances of a value, and of a force relative to the largest: positions are in float32 in the
first two, those of the modelled atoms some 10 nm from the origin."""


def usable() -> str | None:
    try:
        system = openmm.System()
        system.addParticle(1.0)
        platform = openmm.Platform.getPlatformByName(PLATFORM)
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException as error:
        return str(error).splitlines()[0]
    return None


PROBLEM = usable()
pytestmark = pytest.mark.skipif(PROBLEM is not None, reason=f"no {PLATFORM} here: {PROBLEM}")
BACKENDS = ["native", "python"]
if versions.torchforce_problem() is None:
    BACKENDS.append("torchforce")


def context_on(system: openmm.System, precision: str) -> openmm.Context:
    platform = openmm.Platform.getPlatformByName(PLATFORM)
    known = "Precision" in platform.getPropertyNames()
    if not known and precision != "single":
        pytest.skip(f"{PLATFORM} has one precision")
    properties = {"Precision": precision} if known else {}
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)


@pytest.fixture(scope="module", params=["affine", "spline"])
def cv(request, make_model, tmp_path_factory):
    model = make_model(torch.float32, INDICES, 20, layers=4, hidden=24, coupling=request.param)
    path = tmp_path_factory.mktemp("cuda") / "cv.pt"
    export(model, MODES, path)
    return path, model.molecule.masses


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("box", [None, *BOXES])
def test_modes_and_their_forces(cv, wobble, backend, precision, box):
    path, masses = cv
    edges = None if box is None else BOXES[box]
    x = scatter(wobble(4, seed=2))
    if edges is not None:
        # across a corner of the box
        x = np.array([wrap(frame - frame[INDICES].mean(0), edges) for frame in x])
    x = x.astype(np.float32).astype(np.float64)
    core = load_core(path.with_suffix(".safetensors"))
    values, slopes = core.values_and_gradients(x, box=edges)
    system = free_system(masses, edges)
    for group, force in enumerate(mode_forces(path, system, backend)):
        force.setForceGroup(group + 1)
        system.addForce(force)
    context = context_on(system, precision)
    for f, frame in enumerate(x):
        context.setPositions(frame)
        for k in range(len(MODES)):
            state = context.getState(energy=True, forces=True, groups={k + 1})
            forces = np.asarray(state.getForces(asNumpy=True).value_in_unit(KJ / unit.nanometer))
            off, relative = PRECISIONS[precision]
            assert abs(state.getPotentialEnergy().value_in_unit(KJ) - values[f, k]) < off
            scale = np.abs(slopes[f, k]).max()
            assert np.abs(forces + slopes[f, k]).max() < relative * scale
            assert (forces[OTHERS] == 0.0).all()


@pytest.fixture(scope="module")
def torsions(vacuum, relaxed, tmp_path_factory):
    """cv.json of two modes of the torsions of alanine dipeptide, and its positions in nm."""
    molecule = select_atoms(md.Topology.from_openmm(vacuum.topology), None)
    bonds = tuple(find_rotatable_bonds(molecule, relaxed[molecule.indices]))
    model = TorsionModel(
        molecule=molecule,
        temperature=300.0,
        bonds=bonds,
        order=2,
        coefficients=np.random.default_rng(4).normal(size=(2, len(bonds), 2, 2)),
        constant=np.array([0.2, -0.4]),
        omega=np.array([1.0, 2.0]),
        omega_error=np.full(2, np.nan),
        omega_held_out=np.full(2, np.nan),
        steepness=np.ones(2),
    )
    path = tmp_path_factory.mktemp("torsions") / "cv.json"
    export(model, [0, 1], path)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["native", "openmm", "own"])
def test_modes_of_torsions(torsions, vacuum, relaxed, kind, precision):
    """Energies, forces and forces alone, in a box that tears the molecule."""
    box = np.eye(3) * 2.0
    noise = 0.005 * np.random.default_rng(2).normal(size=(4, *relaxed.shape))
    x = relaxed - relaxed.mean(0) + noise
    x = (x - np.floor(x / 2.0) * 2.0).astype(np.float32).astype(np.float64)
    contexts = []
    for platform in ("Reference", PLATFORM):
        system = openmm.System()
        filler = openmm.NonbondedForce()
        filler.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        filler.setCutoffDistance(0.5)
        for k in range(len(relaxed)):
            system.addParticle(vacuum.system.getParticleMass(k))
            filler.addParticle(0.0, 1.0, 0.0)
        system.setDefaultPeriodicBoxVectors(*box)
        system.addForce(filler)
        if kind == "own":
            content = carried_file(mode_forces(torsions, system, "native"))
            meta = NativeMetadynamics(system, content, BiasOptions(width=(0.5, 0.5)), 100)
            for k in range(20):
                meta.add_hill(np.array([np.sin(k), np.cos(2.0 * k)]), 3.0)
        else:
            backend = kind if platform == PLATFORM else "openmm"
            for force in mode_forces(torsions, system, backend):
                system.addForce(force)
        right = platform == "Reference"
        contexts.append(context_of(system) if right else context_on(system, precision))
    off, relative = PRECISIONS[precision]
    for frame in x:
        wanted, slope = energy_and_forces(contexts[0], frame)
        contexts[1].setPositions(frame)
        alone = contexts[1].getState(forces=True).getForces(asNumpy=True)
        found, forces = energy_and_forces(contexts[1], frame)
        scale = max(1.0, np.abs(slope).max())
        assert abs(found - wanted) < 20.0 * off
        assert np.abs(forces - slope).max() < relative * scale
        assert np.abs(np.asarray(alone._value) - forces).max() < 1e-5 * scale


def biased_system(path, masses, box=None):
    """A system with a bias of a few hills on both modes."""
    system = free_system(masses, box)
    content = path.with_suffix(".safetensors").read_bytes()
    meta = NativeMetadynamics(system, content, BiasOptions(width=(0.5, 0.5)), 100)
    rng = np.random.default_rng(1)
    for _ in range(20):
        meta.add_hill(2.0 * rng.normal(size=2), 3.0)
    return system, meta


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("box", [None, *BOXES])
def test_a_bias_that_changes(cv, wobble, precision, box):
    """Energies and forces, and forces alone: those run beside the other forces of a step."""
    path, masses = cv
    edges = None if box is None else BOXES[box]
    x = scatter(wobble(6, seed=4))
    if edges is not None:
        x = np.array([wrap(frame - frame[INDICES].mean(0), edges) for frame in x])
    x = x.astype(np.float32).astype(np.float64)
    system, meta = biased_system(path, masses, edges)
    here, right = context_on(system, precision), context_of(system)
    off, relative = PRECISIONS[precision]
    for k, frame in enumerate(x):
        meta.add_hill(np.array([0.3 * k, -0.2]), 2.0)
        wanted, slope = energy_and_forces(right, frame)
        here.setPositions(frame)
        alone = here.getState(forces=True).getForces(asNumpy=True)
        alone = np.asarray(alone.value_in_unit(KJ / unit.nanometer))
        found, forces = energy_and_forces(here, frame)
        assert abs(found - wanted) < 20.0 * off
        scale = max(1.0, np.abs(slope).max())
        assert np.abs(forces - slope).max() < relative * scale
        assert np.abs(alone - forces).max() < 1e-6 * scale
        assert (alone[OTHERS] == 0.0).all()


@pytest.mark.parametrize("kind", ["own", "native"])
def test_a_path_of_many_steps(cv, wobble, kind):
    """Positions after 300 steps under a bias, as on the Reference platform."""
    path, masses = cv
    frame = scatter(wobble(1, seed=6))[0]
    places = []
    for precision in (None, "double"):
        system = free_system(masses)
        if kind == "own":
            system, _ = biased_system(path, masses)
        else:
            for force in mode_forces(path, system, kind):
                system.addForce(force)
        bonds = openmm.HarmonicBondForce()
        for a, b in itertools.combinations(INDICES.tolist(), 2):
            bonds.addBond(a, b, float(np.linalg.norm(frame[a] - frame[b])), 2e4)
        system.addForce(bonds)
        context = context_on(system, precision) if precision else context_of(system)
        context.setPositions(frame)
        context.getIntegrator().step(300)
        state = context.getState(positions=True)
        places.append(np.asarray(state.getPositions(asNumpy=True)._value))
    moved = np.abs(places[0] - frame)[INDICES].max()
    assert moved > 1e-3
    assert np.abs(places[1] - places[0]).max() < 1e-4 * max(1.0, moved)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_contexts_take_turns(cv, wobble, backend):
    """A module or a cache that two Contexts share must not mix them up."""
    path, masses = cv
    frames = scatter(wobble(2, seed=5))
    core = load_core(path.with_suffix(".safetensors"))
    values = core.values(frames)
    made = []
    for _ in frames:
        system = free_system(masses)
        system.addForce(mode_forces(path, system, backend)[0])
        made.append(context_on(system, "single"))
    for _ in range(3):
        for context, x, right in zip(made, frames, values, strict=True):
            context.setPositions(x)
            energy = context.getState(energy=True).getPotentialEnergy().value_in_unit(KJ)
            assert abs(energy - right[0]) < 2e-3


@pytest.mark.parametrize("kind", ["own", *BACKENDS])
def test_a_context_goes_on_after_a_structure_that_is_not_finite(cv, wobble, kind):
    path, masses = cv
    system = free_system(masses)
    if kind == "own":
        content = path.with_suffix(".safetensors").read_bytes()
        meta = NativeMetadynamics(system, content, BiasOptions(width=(0.5, 0.5)), 100)
        meta.add_hill(np.zeros(2), 5.0)
    else:
        system.addForce(mode_forces(path, system, kind)[0])
    context = context_on(system, "single")
    x = scatter(wobble(1, seed=3))[0]

    def look():
        context.setPositions(x)
        return context.getState(energy=True).getPotentialEnergy().value_in_unit(KJ)

    before = look()
    torn, point = x.copy(), x.copy()
    torn[INDICES[3]] = np.nan
    point[INDICES] = x[INDICES[0]]  # finite, but without an orientation
    for broken in (torn,) if kind == "torchforce" else (torn, point):  # which looks at nothing
        with pytest.raises(Exception, match=r"(?i)nan|finite|converge|singular"):
            context.setPositions(broken)
            context.getState(energy=True, forces=True)
    assert look() == pytest.approx(before, abs=1e-6)


def test_a_biased_run_in_water_resumes(bent_model, tmp_path):
    """On the platform that --platform names, killed after its first part."""
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.EXPLICIT)
    path = tmp_path / "cv.pt"
    export(bent_model, [0, 1], path)
    forces = mode_forces(path, molecule.system)
    folder = tmp_path / "run"
    folder.mkdir()
    platform = choose_platform(PLATFORM, molecule.system.getNumParticles())
    for time_ns in (0.002, 0.004):
        options = BiasOptions(time_ns=time_ns, width=(0.3, 0.3), pace_ps=0.5)
        run_metadynamics(
            molecule, forces, ["mode_0", "mode_1"], options, folder, platform, checkpoint_ps=1.0
        )
    rows = (folder / "colvar.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[0]) for row in rows] == pytest.approx(
        [0.5 * k for k in range(1, 9)]
    )


def test_energies_of_molecules(tmp_path):
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.IMPLICIT, flexible=True)
    positions = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x = positions + 0.002 * np.random.default_rng(0).normal(size=(20, *positions.shape))
    right, right_forces = MolecularEnergy(
        molecule.system, openmm.Platform.getPlatformByName("Reference")
    ).evaluate(x)
    for workers in (1, 3):
        found, forces = MolecularEnergy(
            molecule.system, openmm.Platform.getPlatformByName(PLATFORM), workers
        ).evaluate(x)
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-2)
        assert np.abs(forces - right_forces).max() < 1e-4 * np.abs(right_forces).max()


def test_forces_of_clashing_atoms_point_where_they_should():
    """CUDA sums forces as 64-bit integers, which overflow above some 2e9 kJ/mol/nm."""
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    positions = np.array(molecule.positions.value_in_unit(unit.nanometer))
    center = positions.mean(0)
    x = np.array([center + s * (positions - center) for s in np.linspace(0.1, 0.8, 15)])
    energies = {}
    for name in ("Reference", PLATFORM):
        platform = openmm.Platform.getPlatformByName(name)
        energies[name] = MolecularEnergy(molecule.system, platform).evaluate(x)
    for k in range(len(x)):
        a, b = (energies[name][1][k] for name in ("Reference", PLATFORM))
        if not np.isfinite(a).all() or np.abs(b).max() == 0.0:
            continue  # none is an answer too
        cosine = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
        assert cosine > 0.99, f"scale {k}: {np.abs(a).max():.3g} kJ/mol/nm, cosine {cosine:.3f}"


def test_a_simulation_in_water(tmp_path):
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.EXPLICIT)
    write_structure(molecule, tmp_path)
    platform = choose_platform(PLATFORM, molecule.system.getNumParticles())
    assert run_dynamics(molecule, tmp_path, 0.002, 0.5, 2.0, 300.0, 0, platform) == 4


def test_a_killed_command_resumes(place, tmp_path):
    """`metadynamics`, killed after its first checkpoint, and its twin that was not."""
    model, system, output = place / "model", place / "md/system.xml", tmp_path / "bias"
    words = [
        *(sys.executable, "-m", "symplectic_cv", "metadynamics", model, "--system", system),
        *("--modes", 0, 1, "--time-ns", 0.15, "--pace", 0.5, "--width", 0.3),
        *("--platform", PLATFORM, "-o", output),
    ]
    command = [str(word) for word in words]
    said = tmp_path / "said.txt"
    with open(said, "w") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=handle)
    until = time.monotonic() + 90.0
    while not list(output.glob("checkpoint/step-*/record.json")) and time.monotonic() < until:
        assert process.poll() is None, said.read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    rows = (output / "colvar.csv").read_text().splitlines()[1:]
    times = [float(row.split(",")[0]) for row in rows]
    assert times == pytest.approx([0.5 * k for k in range(1, 301)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU")
def test_the_frame_and_a_training_on_the_gpu(dipeptide, molecule):
    """The rotation on the device is LAPACK's; a graph of the training step gives its numbers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.as_tensor(dipeptide) + 0.02 * torch.randn(300, 10, 3, generator=generator).double()
    masses = torch.as_tensor(molecule.masses)
    x = x - (masses[:, None] * x).sum(1, keepdim=True) / masses.sum()
    reference = x[0].clone()
    right = superposing_rotation(x, reference, masses)
    found = superposing_rotation(x.cuda(), reference.cuda(), masses.cuda()).cpu()
    assert (found - right).abs().max() < 1e-12
    s = x.transpose(-1, -2) @ (masses[:, None] * reference)
    assert (rotation_in_closed_form(s.cuda()).cpu() - right).abs().max() < 1e-12
    losses = {}
    for device in ("cpu", "cuda"):
        options = TrainingOptions(steps=40, batch=64, hidden=16, layers=2, device=device)
        prepared = prepare(x.numpy(), molecule, 300.0, options)
        losses[device] = train(prepared).validation_nll
    # other momenta are drawn on another device
    assert losses["cuda"] == pytest.approx(losses["cpu"], abs=0.5)
