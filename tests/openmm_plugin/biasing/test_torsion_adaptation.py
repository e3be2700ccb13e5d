"""The adaptive loop on modes of torsions: its choice, its rounds, its end, and its resumption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import openmm_plugin
from openmm_plugin.biasing.adaptation_learning import learner_of
from openmm_plugin.running.simulation import write_structure
from symplectic_cv.errors import BackendError, OptionError, OutputError
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.torsion_folder import load_modes, load_torsion_model
from symplectic_cv.models.torsion_model import TorsionModel

TINY = openmm_plugin.AdaptationOptions(
    rounds=2, time_ns=0.006, pace_ps=0.05, start_ns=0.02, tolerance=0.0
)


@pytest.fixture(scope="module")
def system(vacuum, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    write_structure(vacuum, folder)
    return folder / "system.xml"


@pytest.fixture(scope="module")
def finished(system, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt") / "adapt"
    loop = openmm_plugin.Adaptation(system, options=TINY, folder=folder)
    return loop, list(loop), loop.free_energies()


def test_a_flexible_molecule_gets_modes_of_torsions(finished):
    loop, rounds, _ = finished
    assert loop.chart is Chart.TORSION
    first, second = (load_torsion_model(p.folder / "model") for p in rounds)
    assert (first.order, second.order) == (1, 1)
    assert [p.modes for p in rounds] == [[0, 1, 2], [0, 1, 2]]
    assert not any(bond.amide for bond in second.bonds)
    assert rounds[0].model.validation_nll is None
    weights = np.load(loop.folder / "round-2" / "weights.npy")
    assert len(weights) == rounds[1].rows[0].frames + rounds[1].rows[1].frames


def test_the_change_of_the_free_energies_is_told_and_written(finished):
    loop, rounds, result = finished
    assert rounds[0].model.free_energy_change is None
    change = rounds[1].model.free_energy_change
    assert change > 0.0
    last = (loop.folder / "rounds.csv").read_text().splitlines()[-1]
    assert float(last.split(",")[-1]) == pytest.approx(change, rel=1e-4)
    assert [column.name for column in result.columns][-2:] == ["phi_ALA2", "psi_ALA2"]
    assert ("phi_ALA2", "psi_ALA2") in [tuple(plane.names) for plane in result.planes]


def test_a_loop_that_has_converged_ends(system, tmp_path):
    options = replace(TINY, rounds=5, tolerance=1e9, chart="torsion")
    loop = openmm_plugin.Adaptation(system, options=options, folder=tmp_path / "adapt")
    rounds = list(loop)
    ends = [p.rows[-1].crossings > 0 and p.round > 1 for p in rounds]
    # it ends with the first round after the first that crosses, and not before
    assert not any(ends[:-1])
    if ends[-1]:
        assert "within the tolerance of 1e+09 kJ/mol" in loop.reason
    else:
        assert len(rounds) == 5


def test_a_finished_loop_resumes_as_it_was(finished, system):
    loop, rounds, result = finished
    again = openmm_plugin.Adaptation(system, options=TINY, folder=loop.folder, resume=True)
    back = list(again)
    assert [p.model for p in back] == [p.model for p in rounds]
    assert np.array_equal(again.free_energies().combined.weights, result.combined.weights)
    more = replace(TINY, rounds=3)
    longer = openmm_plugin.Adaptation(system, options=more, folder=loop.folder, resume=True)
    assert [p.round for p in longer] == [1, 2, 3]


def test_the_modes_of_a_round_open_as_any_model(finished):
    _, rounds, _ = finished
    model = load_modes(rounds[-1].folder / "model")
    assert isinstance(model, TorsionModel)
    record = json.loads((rounds[-1].folder / "metadynamics" / "bias.json").read_text())
    ends = model.ends(rounds[-1].modes)
    assert np.allclose(record["low"], [low for low, _ in ends], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "chart"),
    [
        ({}, Chart.TORSION),
        ({"steps": 12}, Chart.CARTESIAN),
        ({"chart": "cartesian"}, Chart.CARTESIAN),
    ],
)
def test_options_of_a_flow_choose_a_flow(molecule, dipeptide, options, chart):
    given = openmm_plugin.AdaptationOptions(**options)
    assert learner_of(given, molecule, dipeptide, Path("nowhere")).chart is chart


def test_loops_of_version_0_1_stay_with_their_flow(molecule, dipeptide, tmp_path):
    settings = openmm_plugin.AdaptationOptions().settings(Chart.CARTESIAN)
    assert "chart" not in settings
    (tmp_path / "run.json").write_text(json.dumps({"command": "adapt", **settings}))
    options = openmm_plugin.AdaptationOptions()
    assert learner_of(options, molecule, dipeptide, tmp_path).chart is Chart.CARTESIAN
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run\.json: damaged"):
        learner_of(options, molecule, dipeptide, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chart": "torsion", "steps": 12}, "`steps` has no meaning with `chart='torsion'`"),
        ({"chart": "cartesian", "order": 2}, "`order` has no meaning with `chart='cartesian'`"),
        ({"chart": "internal"}, "`chart` internal cannot be biased"),
        ({"chart": "polar"}, "`chart` must be"),
        ({"order": 4}, "`order` must be 1, 2 or 3"),
        ({"tolerance": -1.0}, "`tolerance` must be 0 or more"),
    ],
)
def test_options_without_effect_are_refused(molecule, dipeptide, options, words):
    with pytest.raises(OptionError, match=words):
        given = openmm_plugin.AdaptationOptions(**options)
        learner_of(given, molecule, dipeptide, Path("nowhere"))


def test_too_few_frames_for_the_functions_are_told(system, tmp_path):
    with pytest.raises(OptionError, match=r"`start_ns` 0\.002 gives 10 frames"):
        openmm_plugin.Adaptation(
            system, options=replace(TINY, start_ns=0.002, order=3), folder=tmp_path / "adapt"
        )


def test_rounds_take_the_native_force_or_openmms_own(finished, molecule, dipeptide):
    _, rounds, _ = finished
    record = json.loads((rounds[0].folder / "metadynamics" / "run.json").read_text())
    assert record["backend"] == "native"
    own = openmm_plugin.AdaptationOptions(backend="openmm")
    assert learner_of(own, molecule, dipeptide, Path("nowhere")).chart is Chart.TORSION
    with pytest.raises(BackendError, match="`backend=openmm` is for modes of torsions"):
        replace(own, chart="cartesian")
    with pytest.raises(BackendError, match="`backend=openmm` is for modes of torsions"):
        learner_of(replace(own, steps=12), molecule, dipeptide, Path("nowhere"))
