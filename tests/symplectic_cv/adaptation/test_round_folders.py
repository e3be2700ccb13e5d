"""The records of a loop: rounds that are complete, and rounds.csv."""

import json

import pytest

from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import LoopFolder, RoundModel
from symplectic_cv.errors import OutputError

MODEL = RoundModel(-3.125, [2.0, 3.0, 20.0, 30.0, 40.0, 50.0, 60.0], [0, 1])
ROWS = [
    RoundProgress(0, 100, float("nan"), 1, 7, float("nan")),
    RoundProgress(1, 50, 0.5, 2, 1, 2.0),
]


def test_a_round_with_a_record_is_complete(tmp_path):
    folder = LoopFolder(tmp_path)
    folder.round(1).mkdir()
    assert folder.read_round(1) is None
    folder.write_round(1, MODEL, ROWS)
    model, rows = folder.read_round(1)
    assert model == MODEL
    assert str(rows) == str(ROWS)  # NaN is not equal to itself


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {}, "progress": []}', "[1]"])
def test_a_damaged_record_is_told(tmp_path, content):
    folder = LoopFolder(tmp_path)
    folder.round(1).mkdir()
    (folder.round(1) / "summary.json").write_text(content)
    with pytest.raises(OutputError, match="remove it to judge the round anew"):
        folder.read_round(1)


def test_rounds_csv_begins_with_the_columns_of_version_0_1(tmp_path):
    LoopFolder(tmp_path).write_rounds(ROWS, [MODEL])
    assert (tmp_path / "rounds.csv").read_text().splitlines() == [
        "round,frames,time_ns,states_visited,crossings,crossings_per_ns,validation_nll_nats,"
        "slowest_omega_rad_per_ps,modes,free_energy_change_kj_per_mol",
        "0,100,nan,1,7,nan,,,,",
        "1,50,0.5,2,1,2,-3.125,2 3 20 30 40 50,0 1,",
    ]


def test_the_length_of_the_start_is_known_where_the_loop_made_it(tmp_path):
    folder = LoopFolder(tmp_path)
    assert folder.start_ns() != folder.start_ns()  # NaN
    folder.start.mkdir()
    folder.write_start(0.25, 1250)
    assert folder.start_ns() == 0.25
    assert json.loads((folder.start / "summary.json").read_text())["frames"] == 1250
