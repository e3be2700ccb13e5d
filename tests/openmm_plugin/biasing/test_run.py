"""Well-tempered metadynamics: every hill rebuilt by hand, walls, and runs that survive a kill."""

import json
import shutil

import numpy as np
import openmm
import pytest
import torch
from commands import content
from openmm import unit

from openmm_plugin.biasing.equilibration import ModeProbe, equilibrate, local_fluctuation
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.options import HILL_SHARE, MOST_REFITTED
from openmm_plugin.biasing.run import (
    BiasOptions,
    check_count,
    check_start,
    run_metadynamics,
)
from openmm_plugin.forces import evaluate, mode_forces
from openmm_plugin.running.checkpoints import SimulationError
from openmm_plugin.running.simulation import relaxed_state, write_structure
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.well_tempered import bias_offset, free_energy
from symplectic_cv.cli.main import main
from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.exporting.export import export

REFERENCE = openmm.Platform.getPlatformByName("Reference")
PACE_PS, HILLS = 0.02, 16
OPTIONS = BiasOptions(
    time_ns=HILLS * PACE_PS / 1000.0,
    bias_factor=4.0,
    height=4.0,
    width=0.4,
    pace_ps=PACE_PS,
    low=-6.0,
    high=6.5,
    seed=2,
)
COARSE = BiasOptions(**(OPTIONS.settings() | {"width": 0.9}), time_ns=OPTIONS.time_ns)
"""For three modes, where a fine grid costs seconds a hill."""
KT = 8.314462618e-3 * 300.0
NAMES = ["mode_0", "mode_1"]


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def cv(bent_model, tmp_path_factory):
    """exported(n): cv.pt with the n slowest modes."""
    folder = tmp_path_factory.mktemp("cv")
    for n in (1, 2, 3):
        export(bent_model, list(range(n)), folder / f"{n}.pt")
    return lambda n: folder / f"{n}.pt"


@pytest.fixture(scope="module")
def run(vacuum, cv):
    """run(folder, n_modes, backend, …): the bias of a short run, or of its rest."""

    def start(folder, n=2, backend="python", options=OPTIONS, kill=None, checkpoint_ps=0.1):
        def progress(step, values):
            if kill is not None and step >= kill:
                raise Killed

        forces = mode_forces(cv(n), vacuum.system, backend)
        names = [f"mode_{k}" for k in range(n)]
        found = run_metadynamics(
            vacuum, forces, names, options, folder, REFERENCE, progress, checkpoint_ps
        )
        return found.free_energy().bias

    return start


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """whole(n, backend): folder and bias of an uninterrupted run, made once."""
    made = {}

    def get(n=2, backend="python"):
        if (n, backend) not in made:
            folder = tmp_path_factory.mktemp(f"{backend}{n}")
            made[n, backend] = folder, run(folder, n, backend, _options(n))
        return made[n, backend]

    return get


def _options(n):
    return COARSE if n == 3 else OPTIONS


def _table(folder):
    return np.genfromtxt(folder / "colvar.csv", delimiter=",", names=True)


def _modes(table):
    return np.stack([table[name] for name in table.dtype.names if name.startswith("mode")], -1)


def _heights(table):
    """Well-tempered: height · exp(−V/(γ − 1) kT) at the moment of each hill."""
    return OPTIONS.height * np.exp(-table["bias_kj_per_mol"] / (OPTIONS.bias_factor - 1.0) / KT)


def _gaussians(at, modes, heights):
    """Σ height · exp(−|at − mode|²/2 width²) at points (…, n)."""
    steps = (at[..., None, :] - modes) / _options(modes.shape[-1]).width
    return (heights * np.exp(-0.5 * (steps**2).sum(-1))).sum(-1)


def _same_files(one, two):
    for name in ("colvar.csv", "hills.csv", "trajectory.xtc", "convergence.csv", "bias.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    with np.load(one / "free_energy.npz") as first, np.load(two / "free_energy.npz") as second:
        assert sorted(first.files) == sorted(second.files)
        for key in first.files:
            np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize("backend", ["python", "torchforce"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_run_writes_a_row_for_each_hill(whole, n, backend):
    folder, _ = whole(n, backend)
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "bias.json",
        "trajectory.xtc",
        "colvar.csv",
        "hills.csv",
        "COLVAR",
        "HILLS",
        "free_energy.npz",
        "convergence.csv",
        "checkpoint",
    }
    header = (folder / "colvar.csv").read_text().splitlines()[0].split(",")
    assert header == ["time_ps", *NAMES[:n], "bias_kj_per_mol", "c_kj_per_mol", "weight"]
    table = _table(folder)
    np.testing.assert_allclose(table["time_ps"], PACE_PS * np.arange(1, HILLS + 1), rtol=1e-7)
    assert np.ptp(_modes(table), axis=0).min() > 0.1
    assert np.isfinite(_modes(table)).all()


@pytest.mark.parametrize("backend", ["python", "torchforce"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bias_is_the_sum_of_the_hills_before(whole, n, backend):
    table = _table(whole(n, backend)[0])
    modes, heights = _modes(table), _heights(table)
    assert table["bias_kj_per_mol"][0] == 0.0
    rebuilt = [_gaussians(modes[i], modes[:i], heights[:i]) for i in range(HILLS)]
    # the grid's spline is good to a per mille of a hill, to a per cent where three modes leave it
    # 1.25 points a width; hills overlap in tens at most
    tolerance = 0.02 if n < 3 else 0.015 * max(rebuilt)
    np.testing.assert_allclose(table["bias_kj_per_mol"], rebuilt, rtol=0, atol=tolerance)
    assert max(rebuilt) > 4.0
    assert heights.min() < 0.75 * OPTIONS.height


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_grid_holds_every_hill_once_and_the_first_axis_is_the_first_mode(whole, n):
    folder, bias = whole(n)
    table = _table(folder)
    axes = np.meshgrid(*_options(n).grid(n).axes, indexing="ij")
    expected = _gaussians(np.stack(axes, -1), _modes(table), _heights(table))
    np.testing.assert_allclose(bias, expected, rtol=0, atol=1e-5)
    if n > 1:  # the modes differ enough that a swap would show
        assert np.abs(expected - np.swapaxes(expected, 0, n - 1)).max() > 1.0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_free_energy_has_named_axes(whole, n):
    folder, bias = whole(n)
    names = [f"mode_{k}" for k in range(n)]
    with np.load(folder / "free_energy.npz") as archive:
        assert archive["modes"].tolist() == names
        assert archive["free_energy"].shape == _options(n).grid(n).shape
        assert archive["free_energy"].min() == 0.0
        assert archive["temperature_k"] == 300.0
        assert archive["bias_factor"] == 4.0
        for name in names:
            np.testing.assert_array_equal(archive[name], _options(n).grid(n).axes[0])
        np.testing.assert_array_equal(archive["bias"], bias)
        surface = archive["free_energy"]
    np.testing.assert_array_equal(surface, free_energy(bias, 4.0))
    deepest = np.unravel_index(surface.argmin(), surface.shape)
    assert deepest == np.unravel_index(bias.argmax(), bias.shape)


def test_weights_are_those_of_the_bias_at_the_time(whole):
    table = _table(whole(2)[0])
    grid = np.stack(np.meshgrid(*OPTIONS.grid(2).axes, indexing="ij"), -1)
    modes, heights = _modes(table), _heights(table)
    for i in (0, 5, HILLS - 1):
        at_the_time = _gaussians(grid, modes[:i], heights[:i]) if i else np.zeros(grid.shape[:2])
        offset = bias_offset(at_the_time, 4.0, KT)
        expected = np.exp((table["bias_kj_per_mol"][i] - offset) / KT)
        assert table["weight"][i] == pytest.approx(expected, rel=1e-4)
        assert table["c_kj_per_mol"][i] == pytest.approx(offset, rel=1e-4)
    assert table["weight"][0] == 1.0


def test_both_backends_take_the_same_way(whole):
    """Rounding grows in a chaotic system; over 160 steps it stays far below a hill's width."""
    one, two = (_table(whole(2, backend)[0]) for backend in ("python", "torchforce"))
    for name in ("mode_0", "mode_1", "bias_kj_per_mol"):
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-3)


def test_the_modes_in_the_table_are_those_of_the_frames(whole, bent_model, vacuum, tmp_path):
    import mdtraj as md

    write_structure(vacuum, tmp_path)
    folder, _ = whole(2)
    frames = md.load(str(folder / "trajectory.xtc"), top=str(tmp_path / "topology.pdb"))
    values = bent_model.collective_variables(
        torch.as_tensor(frames.xyz[:, bent_model.molecule.indices].astype(np.float64)), [0, 1]
    )
    # XTC keeps 1e-3 nm
    np.testing.assert_allclose(values.detach().numpy(), _modes(_table(folder)), rtol=0, atol=0.1)
    np.testing.assert_allclose(frames.time, _table(folder)["time_ps"], atol=1e-5)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("step", [10, 50, 90, 150])
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(run, whole, tmp_path, n, step):
    """Checkpoints each 50 steps, hills each 10: kills before, at and after a checkpoint."""
    with pytest.raises(Killed):
        run(tmp_path, n, kill=step)
    bias = run(tmp_path, n)
    folder, expected = whole(n)
    np.testing.assert_array_equal(bias, expected)
    _same_files(tmp_path, folder)


@pytest.mark.parametrize("step", [10, 60])
def test_a_run_that_chose_its_widths_is_resumed_as_well(run, tmp_path, step):
    """Killed before and behind its first checkpoint; the widths are in bias.json by then."""
    options = BiasOptions(**(OPTIONS.settings() | {"width": None}), time_ns=OPTIONS.time_ns)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "whole", 1, options=options)
    with pytest.raises(Killed):
        run(tmp_path / "killed", 1, options=options, kill=step)
    run(tmp_path / "killed", 1, options=options)
    _same_files(tmp_path / "whole", tmp_path / "killed")


def test_a_run_killed_twice_through_torchforce(run, whole, tmp_path):
    for step in (60, 120):
        with pytest.raises(Killed):
            run(tmp_path, backend="torchforce", kill=step)
    bias = run(tmp_path, backend="torchforce")
    np.testing.assert_array_equal(bias, whole(2, "torchforce")[1])
    _same_files(tmp_path, whole(2, "torchforce")[0])


def test_a_finished_run_can_be_made_longer(run, whole, tmp_path):
    shorter = BiasOptions(**OPTIONS.settings(), time_ns=6 * PACE_PS / 1000.0)
    run(tmp_path, options=shorter)
    assert len(_table(tmp_path)) == 6
    run(tmp_path)
    _same_files(tmp_path, whole(2)[0])


def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(run, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, kill=90)
    (arrays,) = tmp_path.glob("checkpoint/step-*/arrays.npz")
    arrays.write_bytes(arrays.read_bytes()[:-100])
    before = content(tmp_path)
    with pytest.raises(OutputError, match="damaged checkpoint"):
        run(tmp_path)
    assert content(tmp_path) == before


@pytest.fixture(scope="module")
def biased(vacuum, cv):
    """biased(options, bias): a context with this bias on its grid, and its force group."""

    def build(options, bias):
        system = openmm.XmlSerializer.clone(vacuum.system)
        forces = mode_forces(cv(bias.ndim), vacuum.system, "python")
        meta = Metadynamics(system, forces, options, 10)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
        meta.restore(bias, context)
        np.testing.assert_array_equal(meta.bias, bias)
        return context, meta._force.getForceGroup()

    return build


def _energy_and_forces(context, group, positions):
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True, groups={group})
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
    forces = state.getForces(asNumpy=True)
    return energy, forces.value_in_unit(unit.kilojoules_per_mole / unit.nanometer)


@pytest.fixture(scope="module")
def structures(relaxed):
    """Structures around the relaxed one, whose modes differ by several units."""
    rng = np.random.default_rng(5)
    return [relaxed + 0.06 * rng.normal(size=(22, 3)) for _ in range(6)]


def _slope(energy, values, k):
    """dE/ds_k by central differences."""
    h = 1e-5
    ends = [energy(values + sign * h * np.eye(len(values))[k]) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("n", [1, 2])
def test_beyond_the_grid_the_bias_is_flat_and_the_wall_pushes_back(
    biased, vacuum, cv, structures, n
):
    """Energy and forces against E = V(clamped) + ½ k Σ (excess)², V bilinear: exact on a spline."""
    low, high, wall = -0.5, 0.7, 30.0
    options = BiasOptions(low=low, high=high, width=0.25, wall=wall)
    slope = np.array([3.0, -5.0])[:n]
    axes = np.meshgrid(*options.grid(n).axes, indexing="ij")
    bias = 7.0 + sum(k * x for k, x in zip(slope, axes, strict=True))
    context, group = biased(options, bias)

    def expected(values):
        inside = np.clip(values, low, high)
        return 7.0 + slope @ inside + 0.5 * wall * ((values - inside) ** 2).sum()

    modes = mode_forces(cv(n), vacuum.system, "python")
    plain = openmm.XmlSerializer.clone(vacuum.system)
    for k, force in enumerate(modes):
        force.setForceGroup(20 + k)
        plain.addForce(force)
    of_modes = openmm.Context(plain, openmm.VerletIntegrator(0.001), REFERENCE)
    sides = set()
    for x in structures:
        parts = [_energy_and_forces(of_modes, 20 + k, x) for k in range(n)]
        values = np.array([part[0] for part in parts])
        sides |= {(k, *np.sign(np.clip(v, low, high) - v)) for k, v in enumerate(values[:, None])}
        energy, forces = _energy_and_forces(context, group, x)
        assert energy == pytest.approx(expected(values), abs=1e-6)
        chain = sum(_slope(expected, values, k) * parts[k][1] for k in range(n))
        np.testing.assert_allclose(forces, chain, rtol=1e-5, atol=1e-3)
    assert sides >= {(0, -1.0), (0, 1.0)}  # beyond both ends


def test_inside_of_the_grid_the_walls_are_not_felt(biased, vacuum, cv, structures):
    options = BiasOptions(low=-40.0, high=40.0, width=2.0, wall=1000.0)
    rng = np.random.default_rng(3)
    context, group = biased(options, np.zeros(options.grid(2).shape) + 2.5)
    for x in structures[:2]:
        energy, forces = _energy_and_forces(context, group, x + rng.normal(size=3))
        assert energy == pytest.approx(2.5, abs=1e-9)
        assert np.abs(forces).max() < 1e-6


def test_the_walls_turn_a_run_back(run, whole, tmp_path):
    """A grid that ends just beyond the start: the run leaves it and is pushed back."""
    start = _modes(_table(whole(1)[0]))[0, 0]
    options = BiasOptions(
        time_ns=0.0006, width=0.1, height=3.0, pace_ps=PACE_PS, low=start - 0.3, high=start + 0.3
    )
    run(tmp_path, 1, options=options)
    table = _table(tmp_path)
    outside = np.maximum(table["mode_0"] - options.high, options.low - table["mode_0"])
    assert outside.max() > 0.0
    first = int(outside.argmax())
    assert table["bias_kj_per_mol"][first] > 0.5 * options.wall * outside[first] ** 2 - 0.01
    assert outside.max() < 1.5


def test_a_start_outside_of_the_grid_is_refused(vacuum, cv, relaxed):
    forces = mode_forces(cv(2), vacuum.system, "python")
    values = evaluate(forces, 22, relaxed)
    start = MolecularSystem(vacuum.system, vacuum.topology, relaxed * unit.nanometer)
    check_start(forces, start, BiasOptions())
    outside = BiasOptions(low=float(values[1]) + 0.1, high=float(values[1]) + 30.0)
    with pytest.raises(OptionError, match=r"in biased mode [01], outside of the grid .*`range`"):
        check_start(forces, start, outside)


def test_one_to_three_modes():
    for n in (1, 2, 3):
        check_count(range(n))
    for n in (0, 4):
        with pytest.raises(OptionError, match=f"`modes` names {n} modes; .* takes 1 to 3"):
            check_count(range(n))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias_factor": 1.0}, "`bias_factor` must be above 1; got 1.0"),
        ({"bias_factor": float("nan")}, "`bias_factor` must be above 1"),
        ({"bias_factor": float("inf")}, "`bias_factor` must be above 1"),
        ({"height": 0.0}, "`height` must be positive"),
        ({"width": -0.1}, "`width` must be positive"),
        ({"pace_ps": float("inf")}, "`pace_ps` must be a finite number"),
        ({"pace_ps": 0.0011}, "`pace_ps` 0.0011 ps is not a .* of 2 fs: give `pace_ps` 0.002, or"),
        ({"pace_ps": 0.2, "timestep_fs": 3.0}, "give `pace_ps` 0.198 or 0.201, or another"),
        ({"time_ns": 0.0}, "`time_ns` must be positive"),
        ({"timestep_fs": float("nan")}, "`timestep_fs` must be a finite number"),
        ({"temperature": 0.0}, "temperature"),
        ({"low": 3.0, "high": -3.0}, "`range`"),
        ({"low": -0.4, "high": 0.4, "width": 0.25}, "more than four hill widths"),
        ({"width": (0.3, -0.2)}, "`width` must be positive; got -0.2"),
        ({"barrier": 2.0}, "`barrier` must be above kT"),
        ({"low": float("nan")}, "`range`"),
        ({"high": float("inf")}, "`range`"),
    ],
)
def test_options_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(OptionError, match=message):
        BiasOptions(**settings)


def test_the_grid_has_points_enough_for_a_hill():
    axis = BiasOptions(low=-2.0, high=3.0, width=0.3).grid(1).axes[0]
    spacing = np.diff(axis)
    assert (axis[0], axis[-1]) == (-2.0, 3.0)
    np.testing.assert_allclose(spacing, spacing[0])
    assert spacing[0] <= 0.3 / 2.5


def test_the_fluctuation_is_measured_in_pieces():
    """Two basins far apart: a whole series would see their distance."""
    rng = np.random.default_rng(0)
    series = rng.normal(scale=[0.3, 0.05, 4.0], size=(160, 3))
    series[80:] += 5.0
    found = local_fluctuation(series, 20)
    assert found[0] == pytest.approx(0.3, rel=0.1)
    assert found[1:].tolist() == [0.15, 1.0]  # held within bounds


def test_the_equilibration_gives_widths_and_the_start(vacuum, cv):
    forces = mode_forces(cv(2), vacuum.system, "python")
    options = BiasOptions(seed=4)
    state, fluctuation = equilibrate(vacuum, forces, options, REFERENCE)
    plain = relaxed_state(vacuum, 300.0, 0.002, 4, REFERENCE)
    np.testing.assert_array_equal(
        state.getPositions(asNumpy=True)._value, plain.getPositions(asNumpy=True)._value
    )
    settled = options.with_fluctuation(fluctuation.tolist())
    np.testing.assert_allclose(settled.widths(2), HILL_SHARE * fluctuation, rtol=0.01)
    opes = BiasOptions(opes=True).with_fluctuation(fluctuation.tolist())
    np.testing.assert_allclose(opes.widths(2), fluctuation, rtol=0.01)


def test_three_modes_have_a_grid_that_can_be_refitted():
    settled = BiasOptions().with_fluctuation([0.2, 0.3, 0.9])
    assert settled.widths(3) == (0.375, 0.375, 0.63)
    assert settled.grid(3).shape == (41, 41, 25)


def test_native_forces_may_have_a_finer_grid_of_three_modes(vacuum, cv, tmp_path):
    settled = BiasOptions().with_fluctuation([0.2, 0.3, 0.4], own=True)
    assert settled.widths(3) == (0.188, 0.21, 0.28)
    assert np.prod(settled.grid(3).shape) > MOST_REFITTED
    # OpenMM would fit its spline anew at each hill
    forces = mode_forces(cv(3), vacuum.system, "python")
    names = ["mode_0", "mode_1", "mode_2"]
    fine = BiasOptions(width=(0.18, 0.18, 0.18))
    with pytest.raises(OptionError, match=r"seconds to fit anew at each hill.*`backend=native`"):
        run_metadynamics(vacuum, forces, names, fine, tmp_path, REFERENCE)
    assert not list(tmp_path.glob("*.json"))


@pytest.fixture(scope="module")
def at_constant_pressure():
    """The dipeptide in a periodic box with a barostat that moves every 10 steps."""
    vacuum = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    system, topology = vacuum.system, vacuum.topology
    box = np.eye(3) * 16.0  # the volume of one molecule of a gas at 0.01 bar
    system.setDefaultPeriodicBoxVectors(*box)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
            force.setCutoffDistance(0.9)
    system.addForce(openmm.MonteCarloBarostat(0.01, 310.0, 10))
    topology.setPeriodicBoxVectors(box * unit.nanometer)
    return MolecularSystem(system, topology, vacuum.positions)


def test_a_run_with_a_barostat_goes_on_from_its_checkpoint(at_constant_pressure, cv, tmp_path):
    """OpenMM's checkpoint lacks the size of the barostat's moves, which it adapts: positions, box
    and bias go on exactly where they were, later frames are others than without the kill."""
    molecule = at_constant_pressure
    volumes = []

    def start(name, kill=None):
        def progress(step, values):
            if kill is not None and step >= kill:
                raise Killed

        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        forces = mode_forces(cv(1), molecule.system, "python")
        run_metadynamics(
            molecule, forces, NAMES[:1], OPTIONS, folder, REFERENCE, progress, checkpoint_ps=0.1
        )
        import mdtraj as md

        write_structure(molecule, tmp_path)
        frames = md.load(str(folder / "trajectory.xtc"), top=str(tmp_path / "topology.pdb"))
        volumes.append(frames.unitcell_volumes)

    start("whole")
    for kill in (90, 140):
        with pytest.raises(Killed):
            start("killed", kill)
    start("killed")
    assert len(np.unique(volumes[0])) > 3
    whole, killed = (BiasedRun.read(tmp_path / name) for name in ("whole", "killed"))
    assert len(killed.frames) == len(killed.hill_list) == HILLS
    np.testing.assert_array_equal(killed.frames.modes[:6], whole.frames.modes[:6])
    np.testing.assert_array_equal(volumes[1][:6], volumes[0][:6])
    with np.load(tmp_path / "killed" / "free_energy.npz") as archive:
        rebuilt = killed.hill_list.on_grid(killed.record.grid)
        np.testing.assert_allclose(archive["bias"], rebuilt, atol=1e-8)


def test_a_barostat_takes_the_temperature_of_the_run(at_constant_pressure):
    from openmm_plugin.running.simulation import langevin_simulation

    simulation = langevin_simulation(
        at_constant_pressure, at_constant_pressure.system, 330.0, 0.002, 0, REFERENCE
    )
    name = openmm.MonteCarloBarostat.Temperature()
    assert simulation.context.getParameter(name) == 330.0


def test_the_modes_do_not_see_the_box(at_constant_pressure, cv, relaxed):
    """A molecule that is cut by the wall of its box has the modes of the whole one."""
    forces = mode_forces(cv(2), at_constant_pressure.system, "python")
    probe = ModeProbe(forces, at_constant_pressure)
    whole = probe(relaxed * unit.nanometer)
    cut = relaxed - relaxed.mean(0)  # its middle at the corner of the box
    cut = np.where(cut < 0.0, cut + 16.0, cut)
    np.testing.assert_allclose(probe(cut * unit.nanometer), whole, rtol=0, atol=1e-9)


@pytest.fixture
def workplace(place, tmp_path):
    """Arguments of `symplectic-cv metadynamics` with a model and a relaxed system of one's own."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    system = str(tmp_path / "md" / "system.xml")
    return ["metadynamics", str(tmp_path / "model"), "--system", system, "-o", str(tmp_path / "b")]


def _fails(arguments, capsys):
    """The line on stderr of a command that a user's error ends."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_command_leaves_no_folder_for_a_start_outside_of_the_grid(workplace, tmp_path, capsys):
    line = _fails([*workplace, "--range", "50", "60"], capsys)
    assert line.startswith("error: the starting structure has ")
    assert not (tmp_path / "b").exists()


def test_the_command_refuses_to_resume_with_another_width(workplace, tmp_path, capsys):
    short = [*workplace, "--time-ns", "0.00004", "--pace", "0.02", "--backend", "python"]
    with pytest.raises(SystemExit) as info:
        main([*short, "--width", "0.3"])
    assert info.value.code == 0
    before = content(tmp_path / "b")
    line = _fails([*short, "--width", "0.4", "--resume"], capsys)
    assert line.startswith("error: ")
    assert line.find("cannot resume, width was 0.3 and is now 0.4") > 0
    assert content(tmp_path / "b") == before
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["width"] == 0.3
    assert len(_table(tmp_path / "b")) == 2
    with pytest.raises(SystemExit) as info:
        main([*short, "--width", "0.3", "--resume", "--time-ns", "0.00008"])
    assert info.value.code == 0
    assert len(_table(tmp_path / "b")) == 4


@pytest.mark.parametrize("backend", ["python", "torchforce"])
@pytest.mark.parametrize(
    "wild",
    [
        {"timestep_fs": 10.0},  # NaN, over which the modes themselves stumble
        {"height": 1e6, "bias_factor": 1e9},  # atoms too far away to be written
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_a_run_that_blows_up_says_so(run, tmp_path, backend, wild):
    options = BiasOptions(time_ns=0.01, pace_ps=PACE_PS, **wild)
    with pytest.raises(SimulationError, match=r"blew up near .* use a smaller `timestep_fs`"):
        run(tmp_path, 1, backend, options)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_a_run_that_blows_up_keeps_its_last_checkpoint(run, tmp_path):
    """Good until it is resumed with time steps that are far too long."""
    with pytest.raises(Killed):
        run(tmp_path, 1, kill=110)
    with pytest.raises(SimulationError, match="the last checkpoint is kept"):
        run(tmp_path, 1, options=BiasOptions(**(OPTIONS.settings() | {"timestep_fs": 10.0})))
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step-000000000100"]
