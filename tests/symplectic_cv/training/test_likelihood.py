"""Maximum likelihood: the loss, its momenta, reproducible and resumable runs, bad data."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from symplectic_cv.charts.eckart import EckartFrame, FrameHealth
from symplectic_cv.errors import (
    FrameError,
    OptionError,
    SelectionError,
    TrajectoryError,
)
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.models.prior import LOG_2PI
from symplectic_cv.molecule import select_atoms
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.likelihood import (
    initial_model,
    negative_log_likelihood,
    validation_nll,
)
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.preparation import check_weights, data_warnings

SMALL = {"batch": 32, "layers": 2, "hidden": 8}


@pytest.fixture(scope="module")
def four_atoms(topology):
    """The alanine of the dipeptide, bare: four atoms, six coordinates."""
    return select_atoms(topology, "resname ALA and name N CA CB C")


@pytest.fixture(scope="module")
def swing(four_atoms, dipeptide):
    """swing(n_frames, seed): whole frames in which one atom swings on an arc, (F, 4, 3)."""
    n, ca, cb, c = dipeptide[four_atoms.indices]
    axis = (c - n) / np.linalg.norm(c - n)

    def frames(n_frames, seed=0):
        rng = np.random.default_rng(seed)
        angle = 0.7 * rng.normal(size=(n_frames, 1))
        x = np.stack([n, ca, cb, c]) + 0.002 * rng.normal(size=(n_frames, 4, 3))
        x[:, 2] = ca + Rotation.from_rotvec(angle * axis).apply(x[:, 2] - ca)
        turns = Rotation.random(n_frames, rng=rng).as_matrix()
        return np.einsum("fab,fib->fia", turns, x) + rng.normal(size=(n_frames, 1, 3))

    return frames


def _weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


# --- the loss ---------------------------------------------------------------------------


def test_the_parts_of_the_loss_add_up_to_the_nll_of_phase_space(make_model, wobble):
    model = make_model()
    q = model.frame.coordinates(torch.as_tensor(wobble(20)))
    p = torch.randn(q.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    configuration, momentum = negative_log_likelihood(model, p, q)
    torch.testing.assert_close(configuration + momentum, -model.log_prob(p, q), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        configuration, -model.log_likelihood_coordinates(q), rtol=1e-12, atol=1e-12
    )


def _momentum_term_in_closed_form(model, q):
    """The mean of the loss over momenta: ½ ‖∂q/∂Q‖² + n/2 ln 2π + ln|det ∂Q/∂q|."""
    latent, log_det = model.flow(q)
    inverse = torch.autograd.functional.jacobian(
        lambda z: model.flow.inverse(z.unsqueeze(0))[0][0], latent[0]
    )
    return 0.5 * (inverse**2).sum() + 0.5 * q.shape[-1] * LOG_2PI + log_det[0]


@pytest.mark.parametrize("momenta", Momenta)
def test_both_momenta_have_the_mean_momentum_term_in_closed_form(make_model, wobble, momenta):
    model = make_model()
    q = model.frame.coordinates(torch.as_tensor(wobble(1)))
    n_draws = 20_000
    p = momenta.draw((n_draws, 24), torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        _, terms = negative_log_likelihood(model, p, q.expand(n_draws, -1))
    expected = _momentum_term_in_closed_form(model, q).detach()
    standard_error = terms.std() / math.sqrt(n_draws)
    assert abs(float(terms.mean() - expected)) < 4.0 * float(standard_error)
    # the test means something only where the term is known well
    assert standard_error < 0.02 * abs(float(expected - 12 * LOG_2PI))


def test_rademacher_probes_have_unit_covariance_and_less_variance(make_model, wobble):
    model = make_model()
    q = model.frame.coordinates(torch.as_tensor(wobble(1))).expand(4000, -1)
    spreads = {}
    for momenta in Momenta:
        p = momenta.draw((4000, 24), torch.Generator().manual_seed(2)).double()
        assert (p.T @ p / 4000 - torch.eye(24)).abs().max() < 5.0 * math.sqrt(2.0 / 4000)
        with torch.no_grad():
            spreads[momenta] = float(negative_log_likelihood(model, p, q)[1].std())
    signs = Momenta.RADEMACHER.draw((100, 24), torch.Generator().manual_seed(3))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert spreads[Momenta.RADEMACHER] < 0.8 * spreads[Momenta.MAXWELL]


def test_the_validation_nll_is_the_weighted_mean_over_the_whole_set(make_model, wobble):
    model = make_model()
    q = model.frame.coordinates(torch.as_tensor(wobble(50)))
    weights = torch.linspace(0.0, 3.0, 50, dtype=torch.float64)
    total, configuration = validation_nll(model, q, weights)
    expected = -(weights * model.log_likelihood_coordinates(q).detach()).sum() / weights.sum()
    assert configuration == pytest.approx(float(expected), rel=1e-12)
    plain, _ = validation_nll(model, q)
    ones, _ = validation_nll(model, q, torch.full((50,), 7.0, dtype=torch.float64))
    assert plain == pytest.approx(ones, rel=1e-12)
    assert validation_nll(model, q, weights) == (total, configuration)


# --- the quasi-harmonic start and the end -------------------------------------------------


def test_weights_of_the_start_count_frames(four_atoms, swing):
    x = swing(80)
    times = 1 + np.arange(80) % 3
    weighted, _ = initial_model(
        x, four_atoms, 300.0, FlowOptions(layers=1, hidden=4), weights=times.astype(float)
    )
    repeated, _ = initial_model(
        np.repeat(x, times, axis=0), four_atoms, 300.0, FlowOptions(layers=1, hidden=4)
    )
    torch.testing.assert_close(weighted.omega, repeated.omega, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(
        weighted.frame.reference, repeated.frame.reference, rtol=0.0, atol=1e-12
    )
    query = torch.as_tensor(swing(5, seed=9))
    torch.testing.assert_close(
        weighted.log_likelihood(query), repeated.log_likelihood(query), rtol=1e-4, atol=1e-4
    )


def test_the_start_uses_the_training_frames_alone(four_atoms, swing):
    x = swing(100)
    chosen = np.arange(60)
    start, q = initial_model(x, four_atoms, 300.0, FlowOptions(layers=1, hidden=4), training=chosen)
    alone, _ = initial_model(x[:60], four_atoms, 300.0, FlowOptions(layers=1, hidden=4))
    assert len(q) == 100
    assert torch.equal(_weights(start), _weights(alone))


def test_settling_orders_the_modes_and_gives_them_unit_mean_square(make_model, wobble):
    model = make_model()
    q = model.frame.coordinates(torch.as_tensor(wobble(300)))
    before = model.flow(q)[0].detach()
    weights = torch.linspace(0.0, 1.0, 300, dtype=torch.float64)
    model.settle(q, weights)
    assert (model.omega[1:] >= model.omega[:-1]).all()
    latent = model.flow(q)[0].detach()
    square = ((weights / weights.sum()).unsqueeze(-1) * (model.omega * latent) ** 2).sum(0)
    torch.testing.assert_close(square, torch.ones(24, dtype=torch.float64), rtol=1e-12, atol=0.0)
    # the modes themselves stay, in another order
    nearest = torch.cdist(latent.T, before.T).min(1)
    assert nearest.values.max() < 1e-12
    assert sorted(nearest.indices.tolist()) == list(range(24))
    p, q_back = model.flow.pull(*model.flow.push(q, q)[:2])
    torch.testing.assert_close(q_back, q, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def harmonic(four_atoms, dipeptide):
    """(omega, frames): 4000 frames of a molecule that is exactly harmonic at 300 K."""
    omega = torch.tensor([8.0, 20.0, 55.0, 90.0, 160.0, 300.0], dtype=torch.float64)
    frame = EckartFrame(
        torch.as_tensor(dipeptide[four_atoms.indices]),
        torch.as_tensor(four_atoms.masses),
        300.0,
    )
    generator = torch.Generator().manual_seed(4)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    # a tenth of the thermal amplitude keeps the mean structure at the reference
    noise = torch.randn(4000, 6, generator=generator, dtype=torch.float64)
    q = (noise / (10.0 * omega)) @ axes
    turns = Rotation.random(4000, rng=np.random.default_rng(5)).as_matrix()
    x = np.einsum("fab,fib->fia", turns, frame.positions(q).numpy())
    return 10.0 * omega, x


def test_a_harmonic_molecule_gives_its_frequencies_back(four_atoms, harmonic):
    omega, x = harmonic
    model, _ = initial_model(x, four_atoms, 300.0, FlowOptions(layers=1, hidden=4))
    # standard error of a frequency from F frames: ω / √(2F)
    error = (model.omega.double() / omega - 1.0).abs()
    assert error.max() < 4.0 / math.sqrt(2 * len(x))


def test_training_on_a_harmonic_molecule_finds_its_exact_entropy(four_atoms, harmonic):
    omega, x = harmonic
    options = TrainingOptions(steps=60, batch=256, layers=2, hidden=8)
    result = train(prepare(x, four_atoms, 300.0, options))
    # NLL of phase space: n (1 + ln 2π) − Σ ln ω; per frame the coordinates scatter by √(n/2)
    exact = 6 * (1.0 + LOG_2PI) - float(omega.log().sum())
    standard_error = math.sqrt(6 / 2 / 400)
    assert abs(result.validation_nll - exact) < 4.0 * standard_error
    assert abs(result.gaussian_nll - exact) < 4.0 * standard_error
    error = (result.model.omega.double() / omega - 1.0).abs()
    assert error.max() < 4.0 / math.sqrt(2 * 3600) + 0.02  # 0.02: what the couplings bend


def test_training_lowers_the_nll_of_anharmonic_data(four_atoms, swing):
    # a quarter of the steps goes by before all couplings learn
    options = TrainingOptions(steps=540, batch=128, layers=4, hidden=32)
    prepared = prepare(swing(1000), four_atoms, 300.0, options)
    result = train(prepared)
    assert result.validation_nll == validation_nll(result.model, prepared.validation)[0]
    assert result.validation_nll < result.gaussian_nll - 0.5
    assert (result.model.omega[1:] >= result.model.omega[:-1]).all()
    rows = result.history
    assert [row.step for row in rows] == sorted({row.step for row in rows})
    scaled = result.model.flow(prepared.training)[0].detach().double() * result.model.omega
    torch.testing.assert_close(
        (scaled**2).mean(0), torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0.0
    )
    # the best weights are kept, and exact frequencies do not make them worse
    assert result.validation_nll < min(row.validation_nll for row in rows) + 0.05


# --- reproducible and resumable -----------------------------------------------------------


def _run(four_atoms, x, options, **how):
    return train(prepare(x, four_atoms, 300.0, options), **how)


@pytest.mark.parametrize("momenta", Momenta)
def test_the_same_seed_gives_the_same_model(four_atoms, swing, momenta):
    x = swing(200)
    options = TrainingOptions(steps=12, seed=3, momenta=momenta, **SMALL)
    first, second = (_run(four_atoms, x, options) for _ in range(2))
    assert torch.equal(_weights(first.model), _weights(second.model))
    assert first.history == second.history
    other = _run(four_atoms, x, TrainingOptions(steps=12, seed=4, momenta=momenta, **SMALL))
    assert not torch.equal(_weights(first.model), _weights(other.model))


class _Killed(Exception):
    pass


def _kill_at(last):
    def progress(step, _):
        if step >= last:
            raise _Killed

    return progress


@pytest.mark.parametrize("weighted", [False, True], ids=["equal weights", "weights"])
@pytest.mark.parametrize("killed_at", [60, 70])
def test_a_killed_run_resumes_to_the_same_model(
    tmp_path, monkeypatch, four_atoms, swing, weighted, killed_at
):
    monkeypatch.setattr("symplectic_cv.training.likelihood.PATIENCE", 1000)
    x = swing(200)
    weights = np.linspace(0.1, 1.0, 200) if weighted else None
    options = TrainingOptions(steps=120, seed=1, **SMALL)

    def start():
        return prepare(x, four_atoms, 300.0, options, weights=weights)

    uninterrupted = train(start(), tmp_path / "whole")
    assert uninterrupted.history[-1].step == 120
    with pytest.raises(_Killed):
        train(start(), tmp_path / "killed", _kill_at(killed_at))
    steps = []
    resumed = train(start(), tmp_path / "killed", lambda step, _: steps.append(step))
    assert killed_at - 10 <= steps[0] <= killed_at + 10  # it did not start from the beginning
    assert steps[-1] == 120
    assert torch.equal(_weights(resumed.model), _weights(uninterrupted.model))
    assert resumed.validation_nll == uninterrupted.validation_nll
    assert resumed.history == uninterrupted.history
    without_checkpoints = train(start())
    assert torch.equal(_weights(without_checkpoints.model), _weights(uninterrupted.model))


def test_a_resumed_run_stops_early_where_the_uninterrupted_one_does(tmp_path, four_atoms, harmonic):
    options = TrainingOptions(steps=400, **SMALL)

    def start():  # Gaussian data: there is nothing to learn beyond the start
        return prepare(harmonic[1][:300], four_atoms, 300.0, options)

    uninterrupted = train(start(), tmp_path / "whole")
    stop = uninterrupted.history[-1].step
    assert uninterrupted.stopped_early
    assert 100 <= stop < 400
    with pytest.raises(_Killed):
        train(start(), tmp_path / "killed", _kill_at(stop - 50))
    resumed = train(start(), tmp_path / "killed")
    assert resumed.stopped_early
    assert resumed.history == uninterrupted.history
    assert torch.equal(_weights(resumed.model), _weights(uninterrupted.model))


def test_resuming_a_finished_run_gives_its_model_again(tmp_path, four_atoms, swing):
    x = swing(100)
    options = TrainingOptions(steps=20, **SMALL)
    first = _run(four_atoms, x, options, checkpoint_folder=tmp_path)
    again = _run(four_atoms, x, options, checkpoint_folder=tmp_path)
    assert torch.equal(_weights(first.model), _weights(again.model))
    assert again.validation_nll == first.validation_nll


def test_progress_is_reported_to_the_last_step(monkeypatch, four_atoms, swing):
    monkeypatch.setattr("symplectic_cv.training.likelihood.PATIENCE", 1000)
    seen = []
    options = TrainingOptions(steps=25, **SMALL)
    _run(four_atoms, swing(100), options, progress=lambda step, row: seen.append((step, row)))
    assert [step for step, _ in seen] == [10, 20, 25]
    assert seen[-1][1] is not None


# --- data and options ---------------------------------------------------------------------


def test_preparing_splits_by_run_and_keeps_weights_with_their_frames(four_atoms, swing):
    weights = np.arange(300.0)
    prepared = prepare(swing(300), four_atoms, lengths=[200, 100], weights=weights)
    assert prepared.training.shape == (270, 6)
    assert prepared.validation.shape == (30, 6)
    assert prepared.training.dtype == torch.float32
    both = torch.cat([prepared.training_weights, prepared.validation_weights])
    assert sorted(both.tolist()) == weights.tolist()
    assert 0 < int((prepared.validation_weights >= 200).sum()) <= 11


def test_few_data_are_said_to_be_few(molecule, wobble, four_atoms, swing):
    few = prepare(wobble(300), molecule, options=TrainingOptions(**SMALL))
    assert len(few.warnings) == 1
    assert "the data are few: 300 frames for 24 dimensions" in few.warnings[0]
    assert "4800" in few.warnings[0]
    enough = prepare(swing(1200), four_atoms, options=TrainingOptions(**SMALL))
    assert enough.warnings == []


def test_a_frame_near_its_limit_is_a_warning_that_names_the_frame():
    (warning,) = data_warnings(10_000, 6, FrameHealth(smallest=0.017, frame=123))
    assert "0.017 of the median (frame 123)" in warning
    assert data_warnings(10_000, 6, FrameHealth(smallest=0.5, frame=0)) == []


@pytest.mark.parametrize(("hidden", "advised"), [(64, True), (16, False), (8, False)])
def test_a_narrow_network_is_not_advised_to_be_narrower(hidden, advised):
    (warning,) = data_warnings(100, 24, FrameHealth(smallest=0.5, frame=0), hidden)
    assert ("`hidden=16`" in warning) == advised


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1; got 0"),
        ({"batch": -5}, "`batch` must be at least 1"),
        ({"layers": 0}, "`layers` must be at least 1"),
        ({"hidden": 0}, "`hidden` must be at least 1"),
        ({"momentum_weight": -0.1}, "`momentum_weight` must be 0 or more"),
        ({"momentum_weight": float("nan")}, "`momentum_weight` must be a finite number"),
        ({"momentum_weight": float("inf")}, "`momentum_weight` must be a finite number"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, message):
    with pytest.raises(OptionError, match=message):
        TrainingOptions(**change)


def test_options_are_stored_as_plain_values():
    stored = TrainingOptions(momenta=Momenta.MAXWELL, seed=4).to_json()
    assert stored["momenta"] == "maxwell"
    assert type(stored["momenta"]) is str
    assert stored["seed"] == 4


@pytest.mark.parametrize("temperature", [0.0, -300.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(four_atoms, swing, temperature):
    with pytest.raises(OptionError, match="`temperature` must be positive"):
        prepare(swing(50), four_atoms, temperature)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(49), r"shape \(49,\), the trajectories have 50 frames"),
        (np.ones((50, 1)), r"shape \(50, 1\)"),
        (-np.ones(50), "negative, infinite or NaN"),
        (np.full(50, np.nan), "negative, infinite or NaN"),
        (np.full(50, np.inf), "negative, infinite or NaN"),
        (np.zeros(50), "all weights of the training frames are zero"),
    ],
)
def test_weights_that_make_no_sense_are_refused(four_atoms, swing, weights, message):
    with pytest.raises(OptionError, match=message):
        prepare(swing(50), four_atoms, weights=weights)


def test_weights_of_whole_numbers_are_taken():
    weights = check_weights(np.arange(5), 5)
    assert weights.dtype == np.float64
    assert weights.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_same_frame_repeated_is_refused(molecule, wobble):
    with pytest.raises(FrameError, match="the same structure"):
        prepare(np.repeat(wobble(1), 200, axis=0), molecule)
    with pytest.raises(FrameError, match=r"zero variance|cannot determine"):
        prepare(np.tile(wobble(10), (20, 1, 1)), molecule)


def test_rigid_frames_that_only_turn_are_refused(molecule, wobble):
    with pytest.raises(FrameError, match="the same structure"):
        prepare(wobble(200, size=0.0), molecule)
    # rounded to single precision, as files hold them
    with pytest.raises(FrameError, match=r"the same structure|zero variance|cannot determine"):
        prepare(wobble(200, size=0.0).astype(np.float32), molecule)


def test_collinear_atoms_are_refused(four_atoms):
    rng = np.random.default_rng(0)
    x = np.zeros((100, 4, 3))
    x[:, :, 0] = 0.15 * np.arange(4) + 0.01 * rng.normal(size=(100, 4))
    with pytest.raises(SelectionError, match="on one line"):
        prepare(x, four_atoms)


def test_a_frame_without_an_orientation_is_named(four_atoms, swing):
    x = swing(200)
    x[77] = x[77, :1]  # all atoms in one place
    with pytest.raises(FrameError, match="frame 77 cannot be superposed"):
        prepare(x, four_atoms)


def test_too_few_frames_are_refused(molecule, wobble):
    with pytest.raises(TrajectoryError, match="9 frames are too few"):
        prepare(wobble(9), molecule)
    with pytest.raises(FrameError, match=r"\(18 training frames\) cannot determine 24"):
        prepare(wobble(20), molecule)
