"""Samples of an analytic Hamiltonian from Python: how many there are, and what their files hold."""

import numpy as np
import pytest
from gaussian_models import gaussian_model

from symplectic_cv.errors import OptionError
from symplectic_cv.files.tables import read_table
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.sampling.sample import is_complete, sample_hamiltonian


def test_as_many_samples_as_are_asked_for(tmp_path):
    """200 samples of 32 chains are 6 steps of each and a seventh of 8 of them."""
    model = gaussian_model(1, 1.1)
    found = sample_hamiltonian(model, 200, DoubleWell(), seed=2, warmup=5)
    assert found.chains.energy.shape == (7, 32)
    whole = sample_hamiltonian(model, 224, DoubleWell(), seed=2, warmup=5)
    np.testing.assert_array_equal(found.coordinates, whole.coordinates[:200])
    for name in ("energy", "log_likelihood", "weights"):
        assert getattr(found, name).shape == (200,)
    found.save(tmp_path / "out")
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        assert {len(array) for array in arrays.values()} == {200}
        np.testing.assert_array_equal(arrays["q"], found.coordinates)
    assert len(read_table(tmp_path / "out" / "samples.csv")) == len(found) == 200
    assert found.summary["samples"] == 200
    assert found.summary["mean_energy"] == pytest.approx(found.energy.mean(), rel=1e-12)


def test_few_samples_take_fewer_chains_and_given_chains_are_kept():
    assert sample_hamiltonian(gaussian_model(1, 1.1), 40, DoubleWell()).options.chains == 10
    with pytest.raises(OptionError, match="`samples` 40 is less than four for each of 32 chains"):
        sample_hamiltonian(gaussian_model(1, 1.1), 40, DoubleWell(), chains=32)


def test_rejection_gives_the_proposals_that_survive(tmp_path):
    found = sample_hamiltonian(gaussian_model(1, 1.1), 400, DoubleWell(), "rejection", seed=1)
    assert 40 < len(found) == len(found.coordinates) < 400
    assert found.summary["acceptance"] == pytest.approx(len(found) / 400)
    assert not is_complete(tmp_path / "out")
    found.save(tmp_path / "out")
    assert is_complete(tmp_path / "out")
    assert len(read_table(tmp_path / "out" / "samples.csv")) == len(found)
