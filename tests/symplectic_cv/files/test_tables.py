"""CSV tables: the same bytes as line by line, every digit read back, errors that say where."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.files.tables import parse_table, read_table, write_table

NUMBERS = arrays(np.float64, st.tuples(st.integers(0, 8), st.just(3)))


def by_hand(header, rows, digits):
    lines = [",".join(header), *(",".join(f"{x:.{digits}g}" for x in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("digits", [6, 8, 17])
@given(values=NUMBERS)
def test_numbers_are_written_as_python_formats_them(tmp_path_factory, digits, values):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    header = ["time_ps", "mode_0", "weight"]
    write_table(path, dict(zip(header, values.T, strict=True)), f"%.{digits}g")
    assert path.read_bytes() == by_hand(header, values, digits)


@given(values=NUMBERS)
def test_seventeen_digits_bring_every_number_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, pd.DataFrame(values, columns=list("abc")), "%.17g")
    table = read_table(path, ["a", "c"])
    assert list(table) == ["a", "b", "c"]
    np.testing.assert_array_equal(table.to_numpy(np.float64), values)


def test_each_column_has_its_format_and_other_kinds_stay_as_they_are(tmp_path):
    path = tmp_path / "frames.csv"
    table = {
        "run": [0, 123456789],
        "descriptor": ["phi", "psi"],
        "time_ps": [1 / 3, np.nan],
        "weight": np.array([1 / 3, np.inf], dtype=np.float32),
    }
    write_table(path, table, {"time_ps": "%.8g", "weight": "%.3g"})
    assert path.read_text() == (
        "run,descriptor,time_ps,weight\n0,phi,0.33333333,0.333\n123456789,psi,nan,inf\n"
    )
    back = read_table(path, text=["descriptor"])
    assert back["run"].dtype == np.int64
    assert back["descriptor"].tolist() == ["phi", "psi"]
    with pytest.raises(KeyError, match="weight"):
        write_table(path, table, {"time_ps": "%.8g"})


def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "modes.csv"
    write_table(path, {"mode": [0]})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_table(path, {"mode": [1]})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [
        ("modes.csv", "mode\n0\n")
    ]


def test_a_table_without_rows_keeps_its_columns():
    table = parse_table("time_ps,mode_0\n", "convergence.csv", ["time_ps"])
    assert table.shape == (0, 2)
    assert table["mode_0"].dtype == np.float64


def test_empty_cells_are_text_only_where_the_reader_says_so(tmp_path):
    content = "round,modes,note\n0,,\n1,0 1 2,nan\n"
    table = parse_table(content, "rounds.csv", text=["modes", "note"])
    assert table["modes"].tolist() == ["", "0 1 2"]
    assert table["note"].tolist() == ["", "nan"]
    with pytest.raises(OutputError, match=r"rounds.csv: .*modes in row 2 is not a number: ''"):
        parse_table(content, "rounds.csv", text=["note"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "its last row is cut"),
        ("\n", "it is empty"),
        ("time_ps,mode_0\n1,2\n3,4", "its last row is cut"),
        ("time_ps,mode_0\n1,2\n3\n", "rows of another length.*row 3 has 1 cells, the header 2"),
        ("time_ps,mode_0\n1,2,3\n", "row 2 has 3 cells, the header 2"),
        ("time_ps,mode_0\n1,2\n\n", "row 3 has 1 cells"),
        ("time_ps,mode_0\n1,2\n3,?\n", r"mode_0 in row 3 is not a number: '\?'"),
        ("time_ps,mode_0\n1,True\n3,False\n", "mode_0 in row 2 is not a number"),
        ("time_ps,mode_0\n1,2\n3,nan\n", "mode_0 in row 3 is not finite"),
        ("time_ps,mode_0\n1,2\n3,-inf\n", "mode_0 in row 3 is not finite"),
        ("time_ps,mode_1\n1,2\n", "no column mode_0"),
        ("time_ps,mode_0,mode_0\n1,2,3\n", "two columns of one name"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(content, problem):
    with pytest.raises(OptionError, match=f"^a.csv: not readable as a path .*{problem}"):
        parse_table(
            content,
            "a.csv",
            ["time_ps", "mode_0"],
            finite=["mode_0"],
            kind="a path",
            error=OptionError,
        )


def test_numbers_that_are_not_finite_pass_where_they_may():
    content = "time_ps,error\n0.5,nan\n1,inf\n"
    assert np.isnan(parse_table(content, "a.csv", finite=["time_ps"])["error"][0])
    with pytest.raises(OutputError, match="error in row 2 is not finite"):
        parse_table(content, "a.csv", finite=True)


def test_a_table_made_by_hand_may_lack_the_last_newline():
    assert len(parse_table("mode_0\n1\n2", "a.csv", complete=False)) == 2


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(OutputError, match=r"none.csv: not readable as a table \(No such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\xff\n")
    with pytest.raises(OutputError, match=r"picture.csv: .*not text"):
        read_table(tmp_path / "picture.csv")
