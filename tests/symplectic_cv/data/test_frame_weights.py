"""Weights of frames as users have them, read right or refused with the remedy."""

import numpy as np
import pytest

from symplectic_cv.data.frame_weights import read_weights
from symplectic_cv.errors import OptionError
from symplectic_cv.training.fit import fit, prepare
from symplectic_cv.units import thermal_energy

EXPECTED = np.array([1.0, 0.5, 2.0])

FILES = {
    "plain.txt": "1.0\n0.5\n2.0\n",
    "comments.dat": "# weights\n# of frames\n1.0\n\n0.5  # low\n2e0\n",
    "header.csv": "frame,weight\n0,1.0\n1,0.5\n2,2.0\n",
    "colvar.csv": "time_ps,mode_0,bias_kj_per_mol,c_kj_per_mol,weight\n"
    "1,0,9,0,1\n2,0,9,0,.5\n3,0,9,0,2\n",
    "COLVAR": "#! FIELDS time phi w metad.bias\n#! SET min_phi -pi\n"
    " 0 1 1.0 7\n 1 1 0.5 8\n 2 1 2.0 9\n",
}


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_gives_its_weights(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    np.testing.assert_array_equal(read_weights(tmp_path / name).values, EXPECTED)


def test_an_array_gives_its_weights(tmp_path):
    np.save(tmp_path / "w.npy", EXPECTED)
    np.testing.assert_array_equal(read_weights(tmp_path / "w.npy").values, EXPECTED)


@pytest.mark.parametrize("temperature", [300.0, 450.0])
@pytest.mark.parametrize("column", ["", ":metad.rbias"])
def test_a_bias_becomes_its_boltzmann_factor(tmp_path, temperature, column):
    (tmp_path / "COLVAR").write_text(
        "#! FIELDS time phi metad.rbias\n0 1 -1.0\n1 1 0.0\n"
        "#! FIELDS time phi metad.rbias\n2 1 4.0\n"
    )
    found = read_weights(f"{tmp_path / 'COLVAR'}{column}", temperature)
    expected = np.exp(np.array([-1.0, 0.0, 4.0]) / thermal_energy(temperature))
    np.testing.assert_allclose(found.values / found.values[0], expected / expected[0])
    assert "exp(V/kT)" in found.source


def test_a_column_may_be_named(tmp_path):
    (tmp_path / "a:b.csv").write_text("x,y\n1,1.0\n2,0.5\n3,2.0\n")
    np.testing.assert_array_equal(read_weights(f"{tmp_path}/a:b.csv:y").values, EXPECTED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n1,2\n", "none of the columns x, y is called weight: name one as"),
        ("1 2\n3 4\n", "2 columns and no header"),
        ("1.0\n0.5\nnan?\n", "line 3 is not a row of numbers"),
        ("#! FIELDS time w\n1 2\n1\n", "line 3 has 1 numbers, the first has 2: is the file cut"),
        ("", "holds no numbers"),
        ("#! FIELDS time w\n1 2 3\n", "has 3 columns and 2 names"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path, content, message):
    (tmp_path / "w.txt").write_text(content)
    with pytest.raises(OptionError, match=message) as error:
        read_weights(tmp_path / "w.txt")
    assert "pickle" not in str(error.value)


def test_binary_and_missing_files_are_refused(tmp_path):
    (tmp_path / "w.dat").write_bytes(bytes(range(256)))
    with pytest.raises(OptionError, match="neither text nor a"):
        read_weights(tmp_path / "w.dat")
    with pytest.raises(OptionError, match="no such file"):
        read_weights(tmp_path / "none.txt")
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(OptionError, match="not a readable"):
        read_weights(tmp_path / "empty.npy")


def test_one_frame_with_all_the_weight_is_refused_as_too_few_frames(molecule, wobble):
    frames = wobble(300)
    weights = np.full(300, 1e-9)
    weights[[7, 160]] = 1.0
    for chart in ("cartesian", "internal"):
        with pytest.raises(OptionError, match=r"`weights`: \d\.\d effective frames \(Kish\) of"):
            prepare(frames, molecule, weights=weights, options=_options(chart))


def _options(chart):
    from symplectic_cv.training.options import TrainingOptions

    return TrainingOptions(chart=chart)


def test_the_effective_number_of_frames_is_kept(molecule, topology, wobble):
    weights = np.where(np.arange(300) % 2 == 0, 1.0, 0.0)
    prepared = prepare(wobble(300), molecule, weights=weights)
    assert prepared.effective_frames == pytest.approx(weights.sum() * 0.9, rel=0.05)
    import mdtraj as md

    with pytest.raises(OptionError, match="effective frames"):
        fit(md.Trajectory(wobble(300), topology), weights=weights * (np.arange(300) < 40))
