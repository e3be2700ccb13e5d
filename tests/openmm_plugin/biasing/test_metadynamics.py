"""Biased runs and umbrella windows from a script: the same runs as those of the commands."""

import numpy as np
import openmm
import pytest
from commands import run
from openmm import app

import openmm_plugin
from openmm_plugin.biasing.options import BiasProgress
from symplectic_cv.errors import OptionError, OutputError

OPTIONS = openmm_plugin.MetadynamicsOptions(
    modes=[0], time_ns=0.0006, pace_ps=0.02, checkpoint_ps=0.2, backend="python", width=0.4
)
TABLES = ("colvar.csv", "hills.csv", "bias.json", "run.json", "trajectory.xtc", "convergence.csv")


@pytest.fixture(scope="module")
def by_command(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command") / "run"
    words = [
        *("metadynamics", place / "model", "--system", place / "md" / "system.xml", "-o", folder),
        *("--modes", 0, "--time-ns", 0.0006, "--pace", 0.02, "--checkpoint-ps", 0.2),
        *("--backend", "python", "--width", 0.4),
    ]
    run(*words)
    return folder, words


def test_a_run_from_a_script_is_that_of_the_command(by_command, place, tmp_path):
    seen = []
    found = openmm_plugin.metadynamics(
        place / "model",
        place / "md" / "system.xml",
        options=OPTIONS,
        folder=tmp_path / "run",
        progress=seen.append,
    )
    for name in TABLES:
        assert (tmp_path / "run" / name).read_bytes() == (by_command[0] / name).read_bytes(), name
    assert list(found.colvar.columns[:2]) == ["time_ps", "mode_0"]
    assert len(found.colvar) == len(found.hills) == 30
    surface = found.free_energy()
    assert surface.names == ["mode_0"]
    assert surface.values.shape == surface.error.shape == surface.axes[0].shape
    assert surface.values.min() == 0.0
    assert all(isinstance(progress, BiasProgress) for progress in seen)
    assert (seen[0].time_ps, seen[0].modes) == (0.0, None)
    assert seen[-1].time_ps == pytest.approx(seen[-1].total_ps) == pytest.approx(0.6)
    assert seen[-1].n_atoms == 22


def test_a_script_goes_on_with_the_run_of_a_command(by_command, place, bent_model, tmp_path):
    """Through objects: a model, a System, a Topology and positions."""
    import shutil
    from dataclasses import replace

    shutil.copytree(by_command[0], tmp_path / "run")
    system = openmm.XmlSerializer.deserialize((place / "md" / "system.xml").read_text())
    pdb = app.PDBFile(str(place / "md" / "topology.pdb"))
    longer = replace(OPTIONS, time_ns=0.0008)
    arguments = (bent_model, system, pdb.topology, pdb.positions)
    found = openmm_plugin.metadynamics(*arguments, longer, tmp_path / "run", resume=True)
    assert len(found.colvar) == 40
    words = by_command[1]
    again = [tmp_path / "again" if word == by_command[0] else word for word in words]
    shutil.copytree(by_command[0], tmp_path / "again")
    again[again.index("--time-ns") + 1] = 0.0008
    run(*again, "--resume")
    for name in TABLES:
        one, two = (tmp_path / kind / name for kind in ("run", "again"))
        assert one.read_bytes() == two.read_bytes(), name
    with pytest.raises(OutputError, match=r"cannot resume, seed was 0 and is now 4"):
        openmm_plugin.metadynamics(*arguments, replace(longer, seed=4), tmp_path / "run", True)
    with pytest.raises(OutputError, match="already holds another run"):
        openmm_plugin.metadynamics(*arguments, longer, tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias_factor": 0.5}, "`bias_factor` must be above 1; got 0.5"),
        ({"width": [0.3, 0.4]}, "`width` has 2 numbers for 1 modes"),
        ({"width": "wide"}, "`width` wide: neither auto nor numbers"),
        ({"opes": True, "height": 1.0}, "`height` 1 is of hills, and `opes` adds none"),
        ({"opes": True, "own_grid": False}, "`own_grid` is for hills"),
        ({"own_grid": True}, "`own_grid` needs the native force"),
        ({"barrier": 50.0}, "`barrier` 50 is for `opes`; hills of metadynamics end by `fill`"),
        ({"checkpoint_ps": 0.0}, "`checkpoint_ps` must be positive"),
        ({"walkers": 0}, "`walkers` must be at least 1"),
        ({"backend": "fast"}, "`backend` must be auto, native, python or torchforce"),
        ({"platform": "Abacus"}, "`platform=Abacus` is not installed here"),
        ({"range": (40.0, 50.0)}, "outside of the grid .* `range`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(place, tmp_path, settings, message):
    from dataclasses import replace

    with pytest.raises(OptionError, match=message):
        openmm_plugin.metadynamics(
            place / "model",
            place / "md" / "system.xml",
            options=replace(OPTIONS, **settings),
            folder=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "`topology` is missing"),
        (("topology",), "`positions` are missing"),
        (("topology", "few"), "`topology` has 22 and `positions` has 3"),
    ],
)
def test_a_system_needs_its_topology_and_a_start(bent_model, vacuum, tmp_path, given, message):
    parts = {"topology": vacuum.topology, "few": np.zeros((3, 3))}
    with pytest.raises(OptionError, match=message):
        openmm_plugin.metadynamics(
            bent_model,
            vacuum.system,
            *(parts[name] for name in given),
            options=OPTIONS,
            folder=tmp_path / "run",
        )


def test_umbrella_windows_from_a_script(place, tmp_path):
    options = openmm_plugin.UmbrellaOptions(
        windows=2, range=(-0.5, 0.5), time_ns=0.001, stride_ps=0.05, steering_ps=0.4
    )
    seen = []
    found = openmm_plugin.umbrella(
        place / "model",
        place / "md" / "system.xml",
        options=options,
        folder=tmp_path / "run",
        progress=seen.append,
    )
    assert found.axis_name == "mode_0"
    assert np.isfinite(found.free_energy).any()
    with np.load(tmp_path / "run" / "free_energy.npz") as archive:
        np.testing.assert_array_equal(archive["free_energy"], found.free_energy)
    assert seen[0].done == 0.0
    assert seen[-1].done == pytest.approx(1.0)


def test_dynamics_of_a_built_in_molecule_from_a_script(tmp_path):
    molecule = openmm_plugin.build_molecule("alanine-dipeptide", solvent="vacuum")
    options = openmm_plugin.SimulationOptions(time_ns=0.0004, stride_ps=0.1)
    found = openmm_plugin.simulate(molecule, options=options, folder=tmp_path / "md")
    assert found.frames == 4
    assert found.trajectory.is_file()
    words = ["simulate", "alanine-dipeptide", "--solvent", "vacuum", "--stride-ps", "0.1"]
    run(*words, "--time-ns", "0.0004", "-o", tmp_path / "command")
    for name in ("trajectory.xtc", "state.csv", "run.json", "system.xml", "topology.pdb"):
        one, two = tmp_path / "md" / name, tmp_path / "command" / name
        assert one.read_bytes() == two.read_bytes(), name
    run(*words, "--time-ns", "0.0008", "-o", tmp_path / "md", "--resume")
