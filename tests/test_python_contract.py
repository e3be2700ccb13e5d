"""The first attempts of a new user: one mode alone, wrong types, an undisturbed state."""

from pathlib import Path

import MDAnalysis
import mdtraj as md
import numpy as np
import pytest
import torch

import symplectic_cv as sc
from symplectic_cv.data.mdshare import heavy_atom_topology
from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.models.modes import check_modes


@pytest.fixture(scope="module")
def data() -> sc.TrajectoryData:
    frames = 0.06 * np.random.default_rng(0).normal(size=(10, 3))
    noise = 0.005 * np.random.default_rng(1).normal(size=(200, 10, 3))
    return sc.TrajectoryData.from_mdtraj(md.Trajectory(frames + noise, heavy_atom_topology()))


def test_one_mode_may_be_named_alone() -> None:
    assert check_modes(2, 4) == [2]
    assert check_modes(np.int64(2), 4) == [2]
    assert check_modes(range(2), 4) == [0, 1]


@pytest.mark.parametrize("modes", ["a", 0.5, slice(0, 2), [0, None], [[0], [1, 2]]])
def test_modes_that_are_no_whole_numbers_are_refused(modes: object) -> None:
    with pytest.raises(sc.OptionError, match=r"`modes` must be whole numbers.*\[0, 1\]"):
        check_modes(modes, 4)  # type: ignore[arg-type]


def test_a_fit_and_a_loaded_model_leave_the_random_state(
    data: sc.TrajectoryData, tmp_path: Path
) -> None:
    before = torch.get_rng_state().clone()
    model = sc.fit(data, steps=2).model
    sc.save_model(tmp_path / "model", model)
    loaded = sc.load_model(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(loaded.modes(data), model.modes(data))
    with pytest.raises(sc.OptionError, match=r"`data`.*read_trajectories.*`modes`"):
        model.modes_frame(data.positions)  # type: ignore[arg-type]


def test_positions_that_are_a_path_are_refused() -> None:
    from openmm_plugin.molecules import _in_nm

    with pytest.raises(sc.OptionError, match=r"`positions` must be numbers in nm.*str"):
        _in_nm("start.pdb")  # type: ignore[arg-type]


def test_what_a_beginner_gets_wrong_ends_in_one_line(tmp_path):
    from openmm_plugin import MetadynamicsOptions
    from openmm_plugin.molecules import as_molecule
    from openmm_plugin.systems import Solvent, build_system, built_in_pdb
    from symplectic_cv.files.run_folder import start_run

    for options, words in (
        ({"height": "x"}, "`height` must be a number"),
        ({"time_ns": "1"}, "`time_ns` must be a number"),
        ({"bias_factor": "5"}, "`bias_factor` must be a number"),
        ({"seed": "a"}, "`seed` must be a whole number"),
    ):
        with pytest.raises(OptionError, match=words):
            MetadynamicsOptions(**options).bias_options(2, 300.0, "native")
    start_run(tmp_path, {"command": "train"}, resume=False)
    with pytest.raises(OutputError, match="a run of `train`, not of `umbrella`"):
        start_run(tmp_path, {"command": "umbrella"}, resume=True)
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    lost = np.full((22, 3), np.nan)
    with pytest.raises(OptionError, match="`positions` of atom 1"):
        as_molecule(molecule.system, molecule.topology, lost)


def _wrong_calls(data, system):
    """Calls that a beginner gets wrong, each with the words of its message."""
    import openmm_plugin as plugin

    file = "md/trajectory.xtc"
    trajectory = md.Trajectory(data.positions, data.molecule.topology)
    torsions = sc.fit(data, chart="torsion", order=1).model
    universe = MDAnalysis.Universe.empty(10, trajectory=True)
    yield lambda: sc.read_trajectories(trajectory), r"`TrajectoryData.from_mdtraj`"
    yield lambda: sc.TrajectoryData.from_mdtraj(file), r"`trajectory` must be a Trajectory.* str"
    yield lambda: sc.TrajectoryData.from_mdanalysis(trajectory), r"`source` must be a universe"
    yield lambda: sc.fit(data, temperature=None), "`temperature` must be positive, in K; got None"
    yield lambda: sc.fit(data, temperature="300"), "`temperature` must be positive"
    yield lambda: sc.fit(data.positions), "`data` must be a TrajectoryData; got ndarray.*from_array"
    yield lambda: sc.prepare(data, options={"steps": 1}), "`options` must be .* TrainingOptions"
    yield lambda: torsions.modes(file), "`data` must be frames.*`read_trajectories`"
    yield lambda: torsions.modes(universe), "`data` must be frames.*from_mdanalysis"
    yield lambda: sc.latent_path(torsions, trajectory[0], trajectory[1]), "no density"
    yield lambda: sc.export(None, path="cv.pt"), "`model` must be the model of a molecule.*NoneType"
    yield lambda: sc.variational("ringwrld"), "'ringwrld' is not built in; there is ringworld"
    yield lambda: plugin.mode_forces(torsions, system), "`path` must be a file .*bias_variables"
    yield lambda: plugin.mode_forces("cv.pt", 22), "`system` must be an openmm.System.* got int"
    yield lambda: plugin.simulate("alanine-dipeptide", folder="md"), "built-in .*build_molecule"
    yield lambda: plugin.simulate(22, folder="md"), "`system` must be an openmm.System.* got int"
    yield lambda: plugin.simulate(system, options={}, folder="md"), "`options` .* SimulationOptions"
    for name in ("time_ns", "stride_ps", "temperature", "timestep_fs"):
        yield lambda name=name: plugin.SimulationOptions(**{name: -1}), f"`{name}` must be positive"
        yield (
            lambda name=name: plugin.SimulationOptions(**{name: "1"}),
            f"`{name}` must be a number",
        )
    yield lambda: plugin.SimulationOptions(seed="a"), "`seed` must be a whole number"
    yield (
        lambda: plugin.bias_variables(torsions, system, [0], 0.3, range=(3,)),
        r"`range` must be two numbers, such as .*got \(3,\)",
    )
    yield lambda: plugin.umbrella(torsions, system, options={}), "`options` .* UmbrellaOptions"
    yield lambda: plugin.metadynamics(torsions, system, options=[]), "`options` .* Metadynamics"
    yield lambda: plugin.Adaptation(system, options={}), "`options` must be .* AdaptationOptions"


def test_calls_that_a_beginner_gets_wrong_name_the_parameter(data, vacuum, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = list(_wrong_calls(data, vacuum))
    assert len(calls) > 20
    for call, words in calls:
        with pytest.raises(sc.UserError, match=words):
            call()
    assert not list(tmp_path.iterdir())


def test_positions_of_the_whole_system_are_refused_with_the_remedy(make_model, wobble):
    model = make_model(indices=np.arange(0, 20, 2), n_system_atoms=22)
    whole = np.zeros((5, 22, 3))
    whole[:, model.molecule.indices] = wobble(5)
    with pytest.raises(OptionError, match=r"all 22 atoms .* data\[:, model.molecule.indices\]"):
        model.modes(whole)
    assert model.modes(whole[:, model.molecule.indices]).shape == (5, 24)


def test_one_mode_and_one_torsion_may_stand_alone(data, tmp_path):
    model = sc.fit(data, steps=2).model
    assert sc.export(model, modes=0, path=tmp_path / "cv.pt")["modes"] == [0]
    one, several = (sc.analyze(model, data, torsions=names) for names in ("phi", ["phi"]))
    np.testing.assert_array_equal(one.mutual_information, several.mutual_information)
    assert [torsion.name for torsion in one.torsions] == ["phi"]


def test_results_are_shown_in_few_lines(data):
    """A notebook shows what a cell ends with; arrays and networks would fill it."""
    result = sc.fit(data, steps=2, layers=1)
    path = sc.latent_path(result.model, data.positions[0], data.positions[-1], points=3)
    for shown in (data, result, path, sc.fit(data, chart="torsion", order=1)):
        assert len(repr(shown)) < 1500, repr(shown)
    assert f"validation_nll={result.validation_nll!r}" in repr(result)


def test_few_samples_take_fewer_chains():
    from symplectic_cv.sampling.chains import default_chains

    assert [default_chains(n) for n in (1, 7, 50, 128, 10_000)] == [1, 1, 12, 32, 32]
