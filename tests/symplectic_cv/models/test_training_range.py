"""The record of the training frames, and how far other frames lie beyond them."""

import json

import numpy as np
import pytest

import symplectic_cv as sc
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import DataWarning, ModelError
from symplectic_cv.models.training_range import LIMIT, TorsionRange, TrainingRange, warn_of_unknown
from symplectic_cv.training.fit import fit


def gaussian(n_frames, dimension=24, seed=0, width=1.0):
    """ln ρ and radius of frames whose latent points are normal."""
    u = width * np.random.default_rng(seed).normal(size=(n_frames, dimension))
    square = (u**2).sum(1)
    return -0.5 * square, np.sqrt(square)


def test_training_frames_and_their_like_are_known():
    known = TrainingRange.of(*gaussian(5000))
    found = known.extrapolation(*gaussian(20_000, seed=1))
    assert np.median(found) < 0.3
    # one in a thousand, with its standard error
    share = (found > 1.0).mean()
    assert abs(share - 0.002) < 0.002
    assert found.max() < LIMIT


def test_frames_far_away_are_unknown():
    known = TrainingRange.of(*gaussian(5000))
    assert (known.extrapolation(*gaussian(100, seed=2, width=3.0)) > LIMIT).all()
    likelihood, radius = gaussian(1)
    assert known.extrapolation(likelihood - 50.0, radius)[0] > LIMIT
    assert known.extrapolation(likelihood, radius + 5.0)[0] > LIMIT
    assert np.isinf(known.extrapolation(np.array([np.nan]), radius))


def test_weights_count():
    likelihood, radius = gaussian(1000)
    weights = np.where(np.arange(1000) < 500, 1.0, 0.0)
    doubled = TrainingRange.of(likelihood, radius, weights)
    assert doubled == TrainingRange.of(likelihood[:500], radius[:500])


def test_the_record_survives_json():
    known = TrainingRange.of(*gaussian(100))
    assert TrainingRange.from_json(json.loads(json.dumps(known.to_json()))) == known
    with pytest.raises(ModelError, match="the record of the training frames is damaged"):
        TrainingRange.from_json({"typical_radius": 1.0})


def test_torsions_are_known_in_visited_bins_around_the_circle():
    angles = np.radians([[175.0, 11.0], [-178.0, 21.0], [-171.0, 31.0]])
    known = TorsionRange.of(angles, np.ones(3), {})
    found = known.extrapolation(np.radians([[179.0, 15.0], [-150.0, 15.0], [179.0, 195.0]]))
    assert found[0] == 0.0
    # the bin from -180° to -170° ends 20° before -150°
    assert found[1] == pytest.approx(20.0 / 15.0)
    assert found[2] == pytest.approx(155.0 / 15.0)
    again = TorsionRange.from_json(json.loads(json.dumps(known.to_json())))
    np.testing.assert_array_equal(again.visited, known.visited)


def test_one_unknown_frame_is_told_with_its_name():
    found = np.zeros(1000)
    warn_of_unknown(found, str)
    found[7] = 2.5
    with pytest.warns(DataWarning, match=r"1 of 1000 frames \(the first: 7\) lie far outside"):
        warn_of_unknown(found, str)


def test_another_ensemble_is_told_though_no_frame_is_far(recwarn):
    found = np.zeros(1000)
    found[:4] = 1.5
    warn_of_unknown(found, str)
    assert not recwarn.list
    found[:100] = 1.5
    with pytest.warns(DataWarning, match="100 of 1000 frames"):
        warn_of_unknown(found, str)


@pytest.fixture(scope="module")
def trained(topology, wobble, tmp_path_factory):
    data = TrajectoryData.from_array(wobble(400), topology, name="run.dcd")
    folder = tmp_path_factory.mktemp("model") / "model"
    fit(data, steps=5, layers=1, hidden=4, folder=folder, device="cpu")
    return sc.load_model(folder)


def test_a_trained_model_knows_its_frames_and_no_others(trained, topology, wobble, recwarn):
    assert trained.training_range is not None
    trained.modes(TrajectoryData.from_array(wobble(400), topology))
    assert not [w for w in recwarn.list if isinstance(w.message, DataWarning)]
    frames = wobble(50)
    frames[13] = wobble(50, size=0.03)[13]
    with pytest.warns(DataWarning, match=r"1 of 50 frames .*: run.dcd, frame 13\) lie far outside"):
        trained.modes(TrajectoryData.from_array(frames, topology, name="run.dcd"))
    found = trained.extrapolation(frames)
    assert found.argmax() == 13
    assert (np.delete(found, 13) < LIMIT).all()


def test_analyses_tell_too(trained, topology, wobble):
    frames = wobble(50)
    frames[13] = wobble(50, size=0.03)[13]
    with pytest.warns(DataWarning, match="1 of 50 frames"):
        found = sc.analyze(trained, TrajectoryData.from_array(frames, topology))
    assert found.frames.extrapolation.argmax() == 13


def test_a_model_without_a_record_says_that_no_watch_is_possible(make_model, wobble):
    with pytest.raises(ModelError, match="no watch for frames that it does not know is possible"):
        make_model().extrapolation(wobble(3))
