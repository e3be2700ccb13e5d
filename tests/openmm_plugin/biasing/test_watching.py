"""The watch over a biased run: it sees what a model does not know and changes nothing."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from openmm import app, unit

import openmm_plugin
import symplectic_cv as sc
from openmm_plugin.biasing.watching import MOST, Watch, keep_model
from openmm_plugin.modelled_atoms import check_known, placed_in
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.errors import DataWarning, SelectionError
from symplectic_cv.models.torsion_folder import load_modes
from symplectic_cv.models.training_range import LIMIT

OPTIONS = openmm_plugin.MetadynamicsOptions(
    modes=[0], time_ns=0.0004, pace_ps=0.02, checkpoint_ps=0.1, backend="python", width=0.4
)


@pytest.fixture(scope="module")
def start(vacuum, relaxed):
    return MolecularSystem(vacuum.system, vacuum.topology, relaxed * unit.nanometer)


@pytest.fixture(scope="module")
def watched(bent_model, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    return openmm_plugin.metadynamics(bent_model, start, options=OPTIONS, folder=folder)


def without_range(model):
    bare = copy.copy(model)
    bare.training_range = None
    return bare


def test_a_run_is_the_same_with_and_without_the_watch(watched, bent_model, start, tmp_path):
    bare = without_range(bent_model)
    openmm_plugin.metadynamics(bare, start, options=OPTIONS, folder=tmp_path / "run")
    for name in ("trajectory.xtc", "hills.csv", "convergence.csv"):
        assert (watched.folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    rows = (watched.folder / "colvar.csv").read_text().splitlines()
    plain = (tmp_path / "run" / "colvar.csv").read_text().splitlines()
    assert [row.rsplit(",", 1)[0] for row in rows] == plain
    assert rows[0].endswith(",extrapolation")


def test_the_column_is_what_the_model_says_of_the_frames(watched, bent_model):
    column = watched.colvar["extrapolation"].to_numpy()
    assert len(column) == 20
    # the trajectory file rounds to 0.001 nm, a thirtieth of the spread of the training frames
    frames = frames_of(watched.folder, bent_model)
    expected = bent_model.extrapolation(frames)
    np.testing.assert_allclose(column, expected, rtol=0.1, atol=0.05)
    assert column.max() > 0.0


def frames_of(folder, model):
    return sc.read_trajectories(
        folder / "trajectory.xtc", folder / "topology.pdb", molecule=model.molecule
    )


def test_the_folder_of_a_run_holds_its_model(watched, bent_model):
    kept = load_modes(watched.folder / "model")
    assert kept.training_range == bent_model.training_range
    assert kept.molecule.to_json() == bent_model.molecule.to_json()


def test_a_resumed_run_goes_on_with_the_column(watched, bent_model, start, tmp_path):
    shutil.copytree(watched.folder, tmp_path / "run")
    longer = replace(OPTIONS, time_ns=0.0006)
    run = openmm_plugin.metadynamics(
        bent_model, start, options=longer, folder=tmp_path / "run", resume=True
    )
    whole = openmm_plugin.metadynamics(bent_model, start, options=longer, folder=tmp_path / "whole")
    assert len(run.colvar) == 30
    assert (tmp_path / "run" / "colvar.csv").read_bytes() == (
        tmp_path / "whole" / "colvar.csv"
    ).read_bytes()
    assert whole.frames.extrapolation is not None


def test_a_run_that_began_without_a_watch_goes_on_without(bent_model, start, tmp_path):
    bare = without_range(bent_model)
    openmm_plugin.metadynamics(bare, start, options=OPTIONS, folder=tmp_path / "run")
    longer = replace(OPTIONS, time_ns=0.0006)
    run = openmm_plugin.metadynamics(
        bent_model, start, options=longer, folder=tmp_path / "run", resume=True
    )
    assert len(run.colvar) == 30
    assert "extrapolation" not in run.colvar


def test_frames_are_made_whole_before_they_are_judged(bent_model, relaxed):
    box = 3.0 * np.eye(3)
    torn = relaxed - relaxed.mean(0)
    torn -= np.floor(torn / 3.0) * 3.0
    assert np.ptp(torn, axis=0).max() > 2.0
    watch = Watch(bent_model)
    watch.see(relaxed, None)
    watch.see(torn, box)
    watch.see(relaxed * 1.4, None)
    found = watch.take()
    expected = bent_model.extrapolation(relaxed[bent_model.molecule.indices])
    np.testing.assert_allclose(found[:2], expected[0], rtol=1e-4)
    assert LIMIT < found[2] <= MOST
    assert len(watch.take()) == 0


def test_windows_are_watched_too(bent_model, start, tmp_path):
    options = openmm_plugin.UmbrellaOptions(
        modes=[0],
        windows=3,
        range=(-0.5, 0.5),
        time_ns=0.0006,
        stride_ps=0.02,
        steering_ps=0.2,
        checkpoint_ps=0.2,
        backend="python",
    )
    openmm_plugin.umbrella(bent_model, start, options=options, folder=tmp_path / "umbrella")
    header, *rows = (tmp_path / "umbrella" / "window-02" / "colvar.csv").read_text().splitlines()
    assert header == "time_ps,mode_0,bias_kj_per_mol,extrapolation"
    assert len(rows) == 30
    assert all(0.0 <= float(row.rsplit(",", 1)[1]) < MOST for row in rows)


def test_an_unknown_start_is_told_and_a_mirrored_one_refused(bent_model, start, relaxed, tmp_path):
    stretched = replace(start, positions=1.4 * relaxed * unit.nanometer)
    with pytest.warns(DataWarning, match="the starting structure lies far outside"):
        check_known(bent_model, stretched)
    mirrored = replace(start, positions=relaxed * [1.0, 1.0, -1.0] * unit.nanometer)
    with pytest.raises(SelectionError, match=r"the starting structure: ALA2-CA .*handedness"):
        openmm_plugin.metadynamics(
            bent_model, mirrored, options=OPTIONS, folder=tmp_path / "mirrored"
        )
    assert not (tmp_path / "mirrored").exists()


def test_a_system_in_another_order_is_biased_on_the_right_atoms(
    bent_model, start, relaxed, tmp_path
):
    rng = np.random.default_rng(4)
    order = np.concatenate(
        [rng.permutation([a.index for a in r.atoms()]) for r in start.topology.residues()]
    )
    place = np.argsort(order)
    topology = app.Topology()
    chain = topology.addChain()
    residues = {}
    atoms = list(start.topology.atoms())
    made = []
    for k in order:
        residue = atoms[k].residue
        if residue.index not in residues:
            residues[residue.index] = topology.addResidue(residue.name, chain, id=residue.id)
        made.append(topology.addAtom(atoms[k].name, atoms[k].element, residues[residue.index]))
    for bond in start.topology.bonds():
        topology.addBond(made[place[bond.atom1.index]], made[place[bond.atom2.index]])
    with pytest.warns(DataWarning, match="the atoms are in another order"):
        placed = placed_in(bent_model, topology)
    np.testing.assert_array_equal(
        relaxed[order][placed.molecule.indices], relaxed[bent_model.molecule.indices]
    )
    assert bent_model.molecule.indices.tolist() != placed.molecule.indices.tolist()
    keep_model(placed, tmp_path)
    assert load_modes(tmp_path / "model").molecule.indices.tolist() == (
        placed.molecule.indices.tolist()
    )


def test_a_table_with_the_column_is_read_and_one_without(watched, tmp_path):
    run = BiasedRun.read(watched.folder)
    assert run.frames[:5].extrapolation.shape == (5,)
    assert json.loads((watched.folder / "bias.json").read_text())["modes"] == ["mode_0"]
