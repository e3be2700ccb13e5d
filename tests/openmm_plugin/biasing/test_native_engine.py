"""The bias that owns its grid, against OpenMM's own metadynamics on the same hills."""

import json
from dataclasses import replace

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.run import BiasOptions, run_metadynamics
from openmm_plugin.forces import evaluate, mode_forces
from openmm_plugin.running.checkpoints import SimulationError
from openmm_plugin.running.simulation import langevin_simulation, start_from
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.well_tempered import bias_offset
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.export import export

pytestmark = pytest.mark.second_openmm

REFERENCE = openmm.Platform.getPlatformByName("Reference")
KJ = unit.kilojoules_per_mole
KT = 8.314462618e-3 * 300.0
PACE_PS, HILLS = 0.02, 16
OPTIONS = BiasOptions(
    time_ns=HILLS * PACE_PS / 1000.0,
    bias_factor=4.0,
    height=4.0,
    width=(0.4, 0.6),
    pace_ps=PACE_PS,
    low=-6.0,
    high=6.5,
    seed=2,
)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def positions(relaxed):
    return relaxed


@pytest.fixture(scope="module")
def cv(bent_model, tmp_path_factory):
    """cv(n): the file of n modes of a model around the relaxed structure."""
    folder = tmp_path_factory.mktemp("cv")
    for n in (1, 2, 3):
        export(bent_model, list(range(n)), folder / f"{n}.pt")
    return lambda n: folder / f"{n}.pt"


def _options(n):
    return OPTIONS if n == 2 else BiasOptions(**(OPTIONS.__dict__ | {"width": 0.4}))


@pytest.fixture
def both(vacuum, cv):
    """both(n): the two engines with a Context each."""

    def build(n):
        made = []
        for kind in ("native", "openmm"):
            system = openmm.XmlSerializer.clone(vacuum.system)
            for k in reversed(range(system.getNumForces())):
                system.removeForce(k)  # only the bias acts
            if kind == "native":
                content = cv(n).with_suffix(".safetensors").read_bytes()
                engine = NativeMetadynamics(system, content, _options(n), 10)
            else:
                forces = mode_forces(cv(n), system, "native")
                engine = Metadynamics(system, forces, _options(n), 10)
            context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
            made.append((engine, context))
        return made

    return build


OFF_BETWEEN_POINTS = {1: 1e-3, 2: 1e-3, 3: 2e-2}
"""Largest error between points of the grid, as a part of a hill: three modes have half the points
for each width."""


def _hills(n, count=25, seed=0):
    """Centres in the grid, some at its edges and one beyond; heights in kJ/mol."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(count, n)) * 1.5
    centers[0], centers[1], centers[2] = -6.0, 6.5, 7.0
    return centers, rng.uniform(0.5, 4.0, size=count)


def _energy_and_forces(context, x):
    context.setPositions(x)
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(KJ / unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(KJ), np.asarray(forces)


def _jittered(positions, seed, size=0.02):
    return positions + size * np.random.default_rng(seed).normal(size=positions.shape)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_same_hills_give_the_same_bias(both, positions, n):
    (native, context), (other, other_context) = both(n)
    centers, heights = _hills(n)
    for center, height in zip(centers, heights, strict=True):
        native.add_hill(center, height)
        other._addGaussian(center, height * KJ, other_context)
    assert native.bias.shape == other.bias.shape
    np.testing.assert_allclose(native.bias, other.bias, rtol=0, atol=1e-11 * native.bias.max())
    tallest = heights.max()
    for seed in range(12):
        x = _jittered(positions, seed)
        energy, forces = _energy_and_forces(context, x)
        right, right_forces = _energy_and_forces(other_context, x)
        # two interpolations of one table
        assert energy == pytest.approx(right, abs=2 * OFF_BETWEEN_POINTS[n] * tallest)
        off = 3e-2 if n < 3 else 0.3
        np.testing.assert_allclose(forces, right_forces, atol=off * np.abs(right_forces).max())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_between_grid_points_the_bias_is_that_of_the_hills(vacuum, cv, positions, n):
    """Against the Gaussians themselves."""
    system = openmm.XmlSerializer.clone(vacuum.system)
    content = cv(n).with_suffix(".safetensors").read_bytes()
    engine = NativeMetadynamics(system, content, _options(n), 10)
    widths = np.array(_options(n).widths(n))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    middle, _ = engine.evaluate(context.getState(positions=True))
    engine.add_hill(middle + 0.3, 3.0)
    worst = 0.0
    for seed in range(20):
        context.setPositions(_jittered(positions, seed, 0.01))
        modes, energy = engine.evaluate(context.getState(positions=True))
        exact = 3.0 * np.exp(-0.5 * (((modes - middle - 0.3) / widths) ** 2).sum())
        worst = max(worst, abs(energy - exact))
    assert worst < 3.0 * OFF_BETWEEN_POINTS[n]
    assert worst > 1e-12


@pytest.mark.parametrize("n", [1, 2, 3])
def test_forces_are_minus_the_slope_of_the_energy(both, positions, n):
    (native, context), _ = both(n)
    for center, height in zip(*_hills(n), strict=True):
        native.add_hill(center, height)
    x = _jittered(positions, 3)
    _, forces = _energy_and_forces(context, x)
    assert np.abs(forces).max() > 10.0
    direction = np.random.default_rng(5).normal(size=x.shape)
    h = 1e-4
    ends = [_energy_and_forces(context, x + sign * h * direction)[0] for sign in (1, -1)]
    slope = -(ends[0] - ends[1]) / (2 * h)
    assert (forces * direction).sum() == pytest.approx(slope, abs=1e-2 * np.abs(forces).max())
    assert np.abs(forces.sum(0)).max() < 1e-10
    arms = x - x.mean(0)
    assert np.abs(np.cross(arms, forces).sum(0)).max() < 1e-10


def test_beyond_the_grid_the_bias_is_flat_and_walls_push_back(vacuum, cv, positions):
    """A grid narrower than the modes: energies and forces by hand."""
    start = evaluate(mode_forces(cv(1), vacuum.system), 22, positions)[0]
    for sign in (1.0, -1.0):
        edge = start - sign * 0.7  # 0.7 beyond it
        low, high = (edge - 5.0, edge) if sign > 0 else (edge, edge + 5.0)
        options = BiasOptions(**(_options(1).__dict__ | {"low": low, "high": high, "wall": 30.0}))
        system = openmm.XmlSerializer.clone(vacuum.system)
        for k in reversed(range(system.getNumForces())):
            system.removeForce(k)
        content = cv(1).with_suffix(".safetensors").read_bytes()
        engine = NativeMetadynamics(system, content, options, 10)
        engine.add_hill(np.array([edge]), 2.0)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
        energy, forces = _energy_and_forces(context, positions)
        assert energy == pytest.approx(2.0 + 15.0 * 0.7**2, abs=1e-4)
        mode = mode_forces(cv(1), system)[0]
        alone = openmm.System()
        for k in range(22):
            alone.addParticle(system.getParticleMass(k))
        alone.addForce(mode)
        context = openmm.Context(alone, openmm.VerletIntegrator(0.001), REFERENCE)
        _, slope = _energy_and_forces(context, positions)
        np.testing.assert_allclose(forces, sign * 30.0 * 0.7 * slope, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_offset_follows_the_hills(both, n):
    (native, _), _ = both(n)
    assert native.offset() == pytest.approx(bias_offset(native.bias, 4.0, KT), abs=1e-12)
    for center, height in zip(*_hills(n), strict=True):
        native.add_hill(center, height)
        right = bias_offset(native.bias, OPTIONS.bias_factor, KT)
        assert native.offset() == pytest.approx(right, abs=1e-9)
    for _ in range(200):  # tall enough to overflow exponentials without a shift
        native.add_hill(np.zeros(n), 40.0)
    right = bias_offset(native.bias, OPTIONS.bias_factor, KT)
    assert right > 1000.0
    assert native.offset() == pytest.approx(right, rel=1e-9)


def test_deposits_are_well_tempered(vacuum, cv, equilibrated):
    """Each hill's height, energy and weight rebuilt by hand from the bias before it."""
    system = openmm.XmlSerializer.clone(vacuum.system)
    content = cv(2).with_suffix(".safetensors").read_bytes()
    engine = NativeMetadynamics(system, content, OPTIONS, 10)
    simulation = langevin_simulation(vacuum, system, 300.0, 0.002, 2, REFERENCE)
    start_from(simulation, equilibrated)
    energies = []
    for k in range(12):
        before = engine.bias
        engine.step(simulation, 10)
        assert simulation.currentStep == 10 * (k + 1)
        hill = engine.last
        added = engine.bias - before
        height = OPTIONS.height * np.exp(-hill.bias / (KT * (OPTIONS.bias_factor - 1.0)))
        assert added.max() == pytest.approx(height, rel=0.1)  # the grid point next to its centre
        offset = bias_offset(before, OPTIONS.bias_factor, KT)
        assert hill.weight == pytest.approx(np.exp((hill.bias - offset) / KT), rel=1e-9)
        x = simulation.context.getState(positions=True).getPositions(asNumpy=True)
        modes = evaluate(mode_forces(cv(2), vacuum.system), 22, np.asarray(x.value_in_unit(x.unit)))
        np.testing.assert_allclose(hill.modes, modes, rtol=0, atol=1e-6)
        energies.append(hill.bias)
    assert energies[0] == 0.0
    assert max(energies) > 2.0


@pytest.mark.parametrize("backend", ["native", "python"])
def test_hills_end_where_the_bias_is_filled_up(vacuum, cv, tmp_path, backend):
    """The bias then stands still, and a frame keeps its weight exp(V/kT) up to a constant."""
    options = replace(OPTIONS, fill=KT + 0.5, height=10.0)
    _run(vacuum, cv, tmp_path / "run", options=options, backend=backend)
    run = BiasedRun.read(tmp_path / "run")
    full = run.frames.offset >= options.fill
    assert 3 <= full.argmax() < len(full) - 3
    assert full[full.argmax() :].all()
    assert (run.hill_list.heights[full] == 0.0).all()
    assert (run.hill_list.heights[~full] > 0.0).all()
    assert np.ptp(run.frames.offset[full]) == 0.0
    still = run.hill_list.at(run.frames.modes[full])
    np.testing.assert_allclose(run.frames.bias[full], still, atol=2e-2 * still.max())
    with pytest.raises(OptionError, match=r"`fill` must be above kT .*; got 1 kJ/mol"):
        replace(OPTIONS, fill=1.0)


def test_a_hill_between_two_states_is_felt_at_once(both, positions):
    (native, context), _ = both(2)
    energy, _ = _energy_and_forces(context, positions)
    assert energy == 0.0
    modes, _ = native.evaluate(context.getState(positions=True))
    native.add_hill(modes, 2.0)
    state = context.getState(energy=True)
    assert state.getPotentialEnergy().value_in_unit(KJ) == pytest.approx(2.0, abs=5e-3)


def test_xml_holds_the_bias(both, positions):
    (native, context), _ = both(2)
    for center, height in zip(*_hills(2), strict=True):
        native.add_hill(center, height)
    system = openmm.XmlSerializer.clone(context.getSystem())
    copied = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    x = _jittered(positions, 1)
    right, forces = _energy_and_forces(context, x)
    energy, found = _energy_and_forces(copied, x)
    assert energy == right != 0.0
    np.testing.assert_array_equal(found, forces)
    native.add_hill(np.zeros(2), 5.0)  # of the original alone
    assert _energy_and_forces(copied, x)[0] == right
    text = openmm.XmlSerializer.serialize(system.getForce(0))
    for old, new, message in (
        ('points="54"', 'points="3"', "6 to 16384 points"),
        ('bias="', 'bias="AAAA', "cut short"),
        ('wall="', 'wall="-', "a wall"),
    ):
        altered = text.replace(old, new)
        assert altered != text
        with pytest.raises(openmm.OpenMMException, match=message):
            openmm.XmlSerializer.deserialize(altered)


def test_restoring_another_grid_is_refused(both):
    (native, context), _ = both(2)
    with pytest.raises(Exception, match="another number of points"):
        native.restore(np.zeros((5, 5)), context)
    with pytest.raises(Exception, match="not finite"):
        native.restore(np.full(native.bias.shape, np.nan), context)
    assert (native.bias == 0.0).all()


def test_which_forces_may_give_their_grid_away(vacuum, cv):
    """All modes of one file, in order, native: nothing else."""
    native = mode_forces(cv(2), vacuum.system, "native")
    content = cv(2).with_suffix(".safetensors").read_bytes()
    assert carried_file(native) == content
    assert carried_file(native[:1]) is None
    assert carried_file(native[::-1]) is None
    assert carried_file([*mode_forces(cv(1), vacuum.system, "native"), native[1]]) is None
    assert carried_file(mode_forces(cv(2), vacuum.system, "python")) is None
    assert carried_file([]) is None


def _run(vacuum, cv, folder, kill=None, n=2, options=OPTIONS, backend="native"):
    def progress(step, values):
        if kill is not None and step >= kill:
            raise Killed

    folder.mkdir(exist_ok=True)
    forces = mode_forces(cv(n), vacuum.system, backend)
    names = [f"mode_{k}" for k in range(n)]
    run = run_metadynamics(vacuum, forces, names, options, folder, REFERENCE, progress, 0.1)
    return run.free_energy().bias


def test_a_killed_run_resumes_to_the_last_bit(vacuum, cv, tmp_path):
    bias = _run(vacuum, cv, tmp_path / "whole")
    with pytest.raises(Killed):
        _run(vacuum, cv, tmp_path / "killed", kill=130)
    assert (tmp_path / "killed" / "checkpoint").is_dir()
    resumed = _run(vacuum, cv, tmp_path / "killed")
    np.testing.assert_array_equal(resumed, bias)
    for name in ("colvar.csv", "hills.csv", "trajectory.xtc"):
        whole, again = tmp_path / "whole" / name, tmp_path / "killed" / name
        assert again.read_bytes() == whole.read_bytes(), name


def test_the_files_are_those_of_openmms_table(vacuum, cv, tmp_path):
    _run(vacuum, cv, tmp_path / "own")
    table = BiasOptions(**(OPTIONS.__dict__ | {"own_grid": False}))
    _run(vacuum, cv, tmp_path / "table", options=table)
    names = [sorted(path.name for path in (tmp_path / kind).iterdir()) for kind in ("own", "table")]
    assert names[0] == names[1]
    first, second = (
        np.genfromtxt(tmp_path / kind / "colvar.csv", delimiter=",", names=True)
        for kind in ("own", "table")
    )
    assert first.dtype.names == second.dtype.names
    # the same dynamics up to the first hill, nearly so for a while afterwards
    assert first["mode_0"][0] == pytest.approx(second["mode_0"][0], abs=1e-6)
    assert first["mode_0"][2] == pytest.approx(second["mode_0"][2], abs=0.05)


def test_a_mode_that_is_not_finite_stops_the_run(vacuum, cv, tmp_path, monkeypatch):
    """The step is named, the frame is kept, and the last checkpoint goes on."""
    forces = mode_forces(cv(2), vacuum.system, "native")
    names = ["mode_0", "mode_1"]

    def explode(step, values):
        if step >= 110:
            raise openmm.OpenMMException("symplectic-cv: mode 0 of mode 0 is not finite: broken")

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(SimulationError, match=r"not finite at step 110 \(0\.220 ps\).*failed\.pdb"):
        run_metadynamics(vacuum, forces, names, OPTIONS, folder, REFERENCE, explode, 0.1)
    frame = openmm.app.PDBFile(str(folder / "failed.pdb"))
    assert frame.topology.getNumAtoms() == 22
    record = json.loads(next((folder / "checkpoint").glob("step-*/record.json")).read_text())
    assert record["step"] == 100
    bias = _run(vacuum, cv, folder)
    np.testing.assert_array_equal(bias, _run(vacuum, cv, tmp_path / "whole"))


def test_a_run_that_blew_up_goes_on_from_its_checkpoint(vacuum, cv, tmp_path):
    """With new velocities; no frame and no hill is lost or doubled."""
    failures, told = [110, 120, 220], []
    options = replace(OPTIONS, time_ns=25 * PACE_PS / 1000.0)

    def explode(step, values):
        if failures and step >= failures[0]:
            failures.pop(0)
            raise openmm.OpenMMException("symplectic-cv: mode 0 of mode 0 is not finite: broken")

    folder = tmp_path / "run"
    folder.mkdir()
    forces = mode_forces(cv(2), vacuum.system, "native")
    names = ["mode_0", "mode_1"]
    bias = run_metadynamics(
        vacuum, forces, names, options, folder, REFERENCE, explode, 0.1, warn=told.append
    )
    bias = bias.free_energy().bias
    attempts = [f"its last checkpoint with new velocities ({k} of 3 attempts)" for k in (1, 2, 1)]
    assert [line.split("goes on from ")[1] for line in told] == attempts
    assert "blew up near 0.2 ps" in told[0]
    _run(vacuum, cv, tmp_path / "whole", options=options)
    run, whole = BiasedRun.read(folder), BiasedRun.read(tmp_path / "whole")
    np.testing.assert_array_equal(run.frames.time_ps, whole.frames.time_ps)
    np.testing.assert_array_equal(run.hill_list.time_ps, whole.hill_list.time_ps)
    with md.open(str(folder / "trajectory.xtc")) as xtc:
        assert len(xtc) == len(run.frames)
    grid = np.stack(np.meshgrid(*run.record.grid.axes, indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(run.bias_at(grid), bias.reshape(-1), atol=1e-9)
    # the same up to the checkpoint at step 100, another run from there on
    early = run.frames.time_ps < 0.201
    np.testing.assert_array_equal(run.frames.modes[early], whole.frames.modes[early])
    assert (run.frames.modes[~early] != whole.frames.modes[~early]).all()


def test_a_simulation_that_blows_up_leaves_its_frame(vacuum, cv, tmp_path):
    wild = BiasOptions(**(OPTIONS.__dict__ | {"timestep_fs": 40.0, "pace_ps": 0.4}))
    wild = BiasOptions(**(wild.__dict__ | {"time_ns": 0.02}))
    with pytest.raises(SimulationError, match=r"blew up|not finite"):
        _run(vacuum, cv, tmp_path / "run", options=wild)
    text = (tmp_path / "run" / "failed.pdb").read_text()
    assert text.count("HETATM") + text.count("ATOM  ") >= 22
    assert "REMARK 1 ATOM" in text


def test_after_a_checkpoint_a_run_and_the_one_resumed_from_it_round_alike(vacuum, cv):
    """The sums behind c(t) are kept from hill to hill; both runs begin them anew there."""
    content = cv(1).with_suffix(".safetensors").read_bytes()
    engines = [
        NativeMetadynamics(openmm.XmlSerializer.clone(vacuum.system), content, _options(1), 10)
        for _ in range(2)
    ]
    whole, resumed = engines
    centers, heights = _hills(1, 400)
    for center, height in zip(centers[:200], heights[:200], strict=True):
        whole.offset()
        whole.add_hill(center, height)
    state = whole.state()
    resumed.restore(state["bias"], None)
    for center, height in zip(centers[200:], heights[200:], strict=True):
        assert whole.offset() == resumed.offset()
        for engine in engines:
            engine.add_hill(center, height)
    assert (whole.bias == resumed.bias).all()
