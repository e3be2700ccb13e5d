"""What a new user of the library tries first: one mode alone, wrong types, an undisturbed state."""

from pathlib import Path

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


def test_few_samples_take_fewer_chains():
    from symplectic_cv.sampling.chains import default_chains

    assert [default_chains(n) for n in (1, 7, 50, 128, 10_000)] == [1, 1, 12, 32, 32]
