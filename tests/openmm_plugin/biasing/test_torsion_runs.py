"""Biased runs on torsion modes: the native force with its own grid, or OpenMM's own forces."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import app, unit

import openmm_plugin
from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.options import BiasOptions, BiasProgress
from openmm_plugin.forces import mode_forces
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.bias.biased_modes import modes_of_all
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import BackendError, OptionError, OutputError
from symplectic_cv.exporting.export import export
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import select_atoms

REFERENCE = openmm.Platform.getPlatformByName("Reference")
KJ = unit.kilojoules_per_mole
OPTIONS = openmm_plugin.MetadynamicsOptions(
    modes=[0, 1],
    time_ns=0.0006,
    pace_ps=0.02,
    checkpoint_ps=0.1,
    width=0.3,
    height=3.0,
    bias_factor=5.0,
    platform="Reference",
)
TABLES = ("colvar.csv", "hills.csv", "trajectory.xtc", "bias.json")


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def model(vacuum: MolecularSystem, relaxed: np.ndarray) -> TorsionModel:
    """Three modes of the torsions of alanine dipeptide, of order 2."""
    molecule = select_atoms(md.Topology.from_openmm(vacuum.topology), None)
    found = find_rotatable_bonds(molecule, relaxed[molecule.indices])
    bonds = tuple(bond for bond in found if not bond.amide)
    assert len(bonds) == 2
    coefficients = np.random.default_rng(4).normal(size=(3, len(bonds), 2, 2))
    return TorsionModel(
        molecule=molecule,
        temperature=300.0,
        bonds=bonds,
        order=2,
        coefficients=0.6 * coefficients,
        constant=np.zeros(3),
        omega=np.array([1.0, 2.0, 3.0]),
        omega_error=np.full(3, np.nan),
        omega_held_out=np.full(3, np.nan),
        steepness=np.ones(3),
    )


@pytest.fixture(scope="module")
def start(vacuum: MolecularSystem, relaxed: np.ndarray) -> MolecularSystem:
    return MolecularSystem(vacuum.system, vacuum.topology, relaxed * unit.nanometer)


def biased(
    model: TorsionModel,
    start: MolecularSystem,
    folder: Path,
    options: openmm_plugin.MetadynamicsOptions = OPTIONS,
    resume: bool = False,
    kill_at_ps: float | None = None,
) -> BiasedRun:
    def progress(at: BiasProgress) -> None:
        if kill_at_ps is not None and at.time_ps >= kill_at_ps:
            raise Killed

    return openmm_plugin.metadynamics(
        model, start, options=options, folder=folder, resume=resume, progress=progress
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_own_grid_holds_the_bias_of_openmms_grid(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path, n: int
) -> None:
    """The same hills, added to both; energies and forces between the points of the grid."""
    export(model, list(range(n)), tmp_path)
    low, high = np.array(model.ends(range(n))).T
    options = BiasOptions(
        bias_factor=5.0, width=0.3, low=tuple(low.tolist()), high=tuple(high.tolist())
    )
    engines, contexts = [], []
    for backend in ("native", "openmm"):
        system = openmm.System()
        for k in range(22):
            system.addParticle(start.system.getParticleMass(k))
        forces = mode_forces(tmp_path / "cv.json", system, backend)
        content = carried_file(forces)
        assert (content is None) == (backend == "openmm")
        if content is None:
            engines.append(Metadynamics(system, forces, options, 10))
        else:
            engines.append(NativeMetadynamics(system, content, options, 10))
        contexts.append(openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE))
    native, table = engines
    rng = np.random.default_rng(1)
    for center, height in zip(rng.uniform(low, high, (25, n)), rng.uniform(1, 4, 25), strict=True):
        native.add_hill(center, height)
        table._addGaussian(center, height * KJ, contexts[1])
    np.testing.assert_allclose(native.bias, table.bias, rtol=0, atol=1e-11 * native.bias.max())
    x = start.positions.value_in_unit(unit.nanometer)
    energies, slopes = [], []
    for seed in range(8):
        moved = x + 0.01 * np.random.default_rng(seed).normal(size=(22, 3))
        for context in contexts:
            context.setPositions(moved)
            state = context.getState(energy=True, forces=True)
            energies.append(state.getPotentialEnergy().value_in_unit(KJ))
            slopes.append(state.getForces(asNumpy=True).value_in_unit(KJ / unit.nanometer))
    assert np.ptp(energies) > 0.1
    off = 5e-3 if n < 3 else 0.1  # two interpolations of one table; three modes have a coarser one
    np.testing.assert_allclose(energies[::2], energies[1::2], rtol=0, atol=off)
    size = np.abs(slopes).max()
    off = 3e-2 if n < 3 else 0.3
    np.testing.assert_allclose(slopes[::2], slopes[1::2], rtol=0, atol=off * size)


def test_both_engines_write_the_same_tables(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    """The same dynamics until the interpolations part; every hill is the modes' own value."""
    own = biased(model, start, tmp_path / "own")
    table = biased(model, start, tmp_path / "table", replace(OPTIONS, backend="openmm"))
    settings = [json.loads((tmp_path / k / "run.json").read_text()) for k in ("own", "table")]
    assert [setting.pop("backend") for setting in settings] == ["native", "openmm"]
    assert settings[0] == settings[1]
    assert own.record == table.record
    assert list(own.colvar) == list(table.colvar)
    early = own.frames.time_ps < 0.1
    np.testing.assert_allclose(
        own.frames.modes[early], table.frames.modes[early], rtol=0, atol=1e-2
    )
    assert own.frames.bias.max() > 3.0
    frames = md.load(tmp_path / "own" / "trajectory.xtc", top=tmp_path / "own" / "topology.pdb")
    again = model.modes(frames, [0, 1])
    np.testing.assert_allclose(own.frames.modes, again, rtol=0, atol=5e-2)  # rounded positions


@pytest.mark.parametrize("backend", ["auto", "openmm"])
def test_a_killed_run_resumes_to_the_last_bit(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path, backend: str
) -> None:
    options = replace(OPTIONS, backend=backend)
    whole = biased(model, start, tmp_path / "whole", options)
    with pytest.raises(Killed):
        biased(model, start, tmp_path / "killed", options, kill_at_ps=0.26)
    assert (tmp_path / "killed" / "checkpoint").is_dir()
    resumed = biased(model, start, tmp_path / "killed", resume=True)  # by itself the same engine
    np.testing.assert_array_equal(resumed.free_energy().bias, whole.free_energy().bias)
    for name in TABLES:
        found = (tmp_path / "killed" / name).read_bytes()
        assert found == (tmp_path / "whole" / name).read_bytes(), name


def test_a_run_keeps_the_engine_that_it_began_with(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    biased(model, start, tmp_path / "run", replace(OPTIONS, time_ns=0.0002))
    with pytest.raises(OutputError, match="backend was 'native' and is now 'openmm'"):
        biased(model, start, tmp_path / "run", replace(OPTIONS, backend="openmm"), resume=True)
    longer = biased(model, start, tmp_path / "run", resume=True)
    assert len(longer.colvar) == 30


def test_a_run_of_an_earlier_version_goes_on_with_openmms_own_forces(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    """Its folder has cv.json alone, and its settings name no backend."""
    own = replace(OPTIONS, backend="openmm")
    biased(model, start, tmp_path / "old", replace(own, time_ns=0.0002))
    whole = biased(model, start, tmp_path / "whole", own)
    record = tmp_path / "old" / "run.json"
    settings = json.loads(record.read_text())
    del settings["backend"]
    record.write_text(json.dumps(settings))
    for name in ("cv.pt", "cv.safetensors"):
        (tmp_path / "old" / name).unlink()
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    resumed = biased(model, start, tmp_path / "old", resume=True)
    np.testing.assert_array_equal(resumed.free_energy().bias, whole.free_energy().bias)
    assert json.loads(record.read_text()) == settings
    with pytest.raises(OutputError, match="backend was 'openmm' and is now 'native'"):
        biased(model, start, tmp_path / "copy", replace(OPTIONS, backend="native"), resume=True)


def test_openmms_table_and_opes_take_native_modes(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    table = biased(model, start, tmp_path / "table", replace(OPTIONS, own_grid=False))
    own = biased(model, start, tmp_path / "own")
    early = own.frames.time_ps < 0.1
    np.testing.assert_allclose(
        own.frames.modes[early], table.frames.modes[early], rtol=0, atol=1e-2
    )
    pytest.importorskip("openmm_opes")
    opes = replace(OPTIONS, opes=True, height=None, bias_factor=None)
    runs = [
        biased(model, start, tmp_path / f"opes-{backend}", replace(opes, backend=backend))
        for backend in ("auto", "openmm")
    ]
    np.testing.assert_allclose(
        runs[0].frames.modes[early], runs[1].frames.modes[early], rtol=0, atol=1e-6
    )


def test_an_own_grid_needs_the_native_force(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"`own_grid` needs the native force.*openmm"):
        biased(model, start, tmp_path / "run", replace(OPTIONS, backend="openmm", own_grid=True))
    assert not (tmp_path / "run").exists()


def test_flows_have_no_forces_of_openmms_own(
    bent_model: object, start: MolecularSystem, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="`backend=openmm` is for modes of torsions"):
        biased(bent_model, start, tmp_path / "run", replace(OPTIONS, backend="openmm"))
    assert not (tmp_path / "run").exists()


def test_umbrella_windows_take_either_engine(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    centre = float(model.modes(start.positions._value[None, model.molecule.indices])[0, 0])
    options = openmm_plugin.UmbrellaOptions(
        windows=2,
        range=(centre - 0.1, centre + 0.1),
        time_ns=0.0004,
        stride_ps=0.02,
        steering_ps=0.2,
        platform="Reference",
    )
    results = []
    for backend in ("auto", "openmm"):
        folder = tmp_path / backend
        given = replace(options, backend=backend)
        results.append(openmm_plugin.umbrella(model, start, options=given, folder=folder))
        found = json.loads((folder / "run.json").read_text())["backend"]
        assert found == {"auto": "native"}.get(backend, backend)
    first, second = (
        np.genfromtxt(tmp_path / k / "window-01" / "colvar.csv", delimiter=",", names=True)
        for k in ("auto", "openmm")
    )
    np.testing.assert_allclose(first["mode_0"][:3], second["mode_0"][:3], rtol=0, atol=1e-3)
    assert np.isfinite(results[0].free_energy).all()


def test_walkers_share_one_bias_of_native_forces(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    options = replace(OPTIONS, walkers=2, time_ns=0.0003)
    run = biased(model, start, tmp_path / "run", options)
    assert len(run.colvar) == 30
    assert json.loads((tmp_path / "run" / "run.json").read_text())["backend"] == "native"


def test_runs_are_combined_by_their_exported_modes(
    model: TorsionModel, start: MolecularSystem, tmp_path: Path
) -> None:
    runs = [
        biased(model, start, tmp_path / f"{mode}", replace(OPTIONS, modes=[mode], seed=mode))
        for mode in (0, 2)
    ]
    files = [run.folder / "trajectory.xtc" for run in runs]
    data = read_trajectories(files, runs[0].folder / "topology.pdb")
    found = modes_of_all(runs, data)
    for mode, values in zip((0, 2), found, strict=True):  # of each run on the frames of both
        np.testing.assert_allclose(values, model.modes(data, [mode]), rtol=0, atol=5e-2)
    assert len(found[0]) == 60


def test_a_script_of_ones_own_names_its_platform(
    model: TorsionModel, start: MolecularSystem
) -> None:
    """Without one the forces are OpenMM's own, which every platform runs."""
    kinds = []
    for platform in (None, "Reference"):
        variables = openmm_plugin.bias_variables(
            model, start.system, [0, 1], width=0.3, platform=platform
        )
        kinds.append({type(variable.force) for variable in variables})
        meta = app.Metadynamics(openmm.XmlSerializer.clone(start.system), variables, 300, 8, 2, 10)
        assert len(meta.variables) == 2
    assert kinds == [{openmm.CustomTorsionForce}, {openmm.Force}]
