"""The flow in internal coordinates: exact, with momenta of unit size, trained and stored."""

import math

import pytest
import torch
from identities import require_exact

from symplectic_cv.charts.internal_flow import halves_by_bits
from symplectic_cv.errors import FrameError, ModelError, OptionError
from symplectic_cv.exporting.export import export
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.model_folder import load_model, save_model
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.options import TrainingOptions


def test_the_whole_flow_is(flow, chart, spinning):
    require_exact(flow, 24, chart.inverse(spinning[10:13])[0], tolerance=1e-7)


def test_few_frames_for_what_follows_the_torsions_are_told(molecule, chart, spinning):
    options = TrainingOptions(coupling=Coupling.SPLINE, layers=1, hidden=8, chart=Chart.INTERNAL)
    with pytest.raises(FrameError, match="31 frames for training cannot determine 24 internal"):
        prepare(chart.place(spinning[:35]).numpy(), molecule, 300.0, options)


def test_every_two_coordinates_are_told_apart():
    for n in (2, 5, 24):
        apart = torch.zeros(n, n, dtype=torch.bool)
        for place in range(0, 2 * (n - 1).bit_length(), 2):
            kept, moved = halves_by_bits(n, place)
            assert sorted([*kept.tolist(), *moved.tolist()]) == list(range(n))
            again = halves_by_bits(n, place + 1)
            assert again[0].tolist() == moved.tolist()
            apart[kept[:, None], moved] = True
        assert (apart | apart.T | torch.eye(n, dtype=torch.bool)).all()


@pytest.mark.statistical
def test_the_scale_makes_momenta_of_unit_size(flow, chart, spinning):
    """At the start (here: the layers without weights) P has unit variance, averaged over frames."""
    start = PointTransformation([*list(flow.layers)[:2], flow.layers[-2]])
    q = chart.inverse(spinning[:8])[0]
    generator = torch.Generator().manual_seed(2)
    square = torch.zeros(24, dtype=torch.float64)
    for _ in range(50):
        p = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        square += start.push(p, q)[0].detach().square().mean(0) / 50
    # 16 probes gave the scale and 50 look at it: 4 standard errors of a mean of squares
    torch.testing.assert_close(square, torch.ones_like(square), rtol=0.0, atol=0.5)


@pytest.fixture(scope="module")
def trained(molecule, chart, spinning):
    positions = chart.place(spinning).numpy()
    options = TrainingOptions(
        steps=60, batch=64, coupling=Coupling.SPLINE, layers=2, hidden=8, chart=Chart.INTERNAL,
        momentum_weight=0.0,
    )  # fmt: skip
    return train(prepare(positions, molecule, 300.0, options)), positions


def test_a_training_lowers_the_nll_of_held_out_frames(trained):
    result, positions = trained
    assert result.validation_nll < result.gaussian_nll
    assert [row.step for row in result.history] == list(range(1, len(result.history) + 1))
    nll = -result.model.log_likelihood(torch.from_numpy(positions[:32])).mean()
    assert float(nll) == pytest.approx(result.validation_nll, abs=3.0)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_as_if_it_had_not_been(molecule, chart, spinning, tmp_path):
    positions = chart.place(spinning[:120]).numpy()
    options = TrainingOptions(
        steps=12, batch=16, coupling=Coupling.SPLINE, layers=1, hidden=8, bins=4,
        chart=Chart.INTERNAL, momentum_weight=0.0,
    )  # fmt: skip

    def prepared():
        return prepare(positions, molecule, 300.0, options)

    whole = train(prepared())

    def kill(step, row):
        if row is not None and row.step >= 7:
            raise Killed

    with pytest.raises(Killed):
        train(prepared(), tmp_path, kill)
    again = train(prepared(), tmp_path)
    assert [row.step for row in again.history] == list(range(1, 13))
    for one, other in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)


def test_momenta_are_learned_where_wanted(molecule, chart, spinning):
    positions = chart.place(spinning[:200]).numpy()
    options = TrainingOptions(
        steps=2, batch=16, coupling=Coupling.SPLINE, layers=2, hidden=8, chart=Chart.INTERNAL
    )
    result = train(prepare(positions, molecule, 300.0, options))
    assert math.isfinite(result.validation_nll)


def test_a_model_is_stored_and_comes_back(trained, tmp_path):
    result, positions = trained
    save_model(tmp_path / "model", result.model, result.history)
    again = load_model(tmp_path / "model")
    x = torch.from_numpy(positions[:5])
    torch.testing.assert_close(again.encode(x), result.model.encode(x))
    structures = again.double().decode(again.encode(x))
    torch.testing.assert_close(structures, again.frame.superpose(x), rtol=0.0, atol=1e-7)


def test_an_autoregressive_flow_is_trained_and_stored(molecule, chart, spinning, tmp_path):
    positions = chart.place(spinning[:200]).numpy()
    options = TrainingOptions(
        steps=3, batch=32, coupling=Coupling.AUTOREGRESSIVE, layers=1, hidden=8, bins=4,
        chart=Chart.INTERNAL, momentum_weight=0.0,
    )  # fmt: skip
    result = train(prepare(positions, molecule, 300.0, options))
    save_model(tmp_path / "model", result.model, result.history)
    x = torch.from_numpy(positions[:3])
    again = load_model(tmp_path / "model").double()
    structures = again.decode(again.encode(x))
    torch.testing.assert_close(structures, again.frame.superpose(x), rtol=0.0, atol=1e-6)


def test_it_is_not_exported_and_says_why(trained, tmp_path):
    with pytest.raises(ModelError, match="each torsion is cut somewhere"):
        export(trained[0].model, [0], tmp_path / "cv.pt")


def test_options_that_do_not_fit(molecule, chart, spinning):
    with pytest.raises(OptionError, match=r"`coupling='affine'` .* use spline"):
        TrainingOptions(chart=Chart.INTERNAL, coupling="affine")
    with pytest.raises(OptionError, match="autoregressive'` is for `chart='internal'`"):
        TrainingOptions(coupling=Coupling.AUTOREGRESSIVE)
    with pytest.raises(OptionError, match="needs `chart='internal'`"):
        TrainingOptions(energy_weight=0.5)
    options = TrainingOptions(coupling=Coupling.SPLINE, chart=Chart.INTERNAL, energy_weight=0.5)
    with pytest.raises(OptionError, match=r"`energy_weight` needs .* give `energies`"):
        prepare(chart.place(spinning).numpy(), molecule, 300.0, options)
