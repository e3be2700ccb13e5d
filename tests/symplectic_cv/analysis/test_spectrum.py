"""Spectra against what is known in closed form, float64."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from symplectic_cv.analysis.spectrum import (
    PowerSpectrum,
    _draw,
    power_spectrum,
    propagate,
    spectral_density,
)
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import symplectic_form
from symplectic_cv.flows.layers import NormalModes, PointLayer
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.reports.spectrum_figures import plot_spectrum
from symplectic_cv.reports.style import save_figure

BEND = 0.5
BENT_OMEGA = torch.tensor([1.0, 2.7], dtype=torch.float64)
CHAIN = HarmonicChain(16)


class Parabola(PointLayer):
    """q_1 = Q_1, q_2 = Q_2 + BEND Q_1²."""

    def inverse(self, q_new):
        first, second = q_new.unbind(-1)
        bent = torch.stack([first, second + BEND * first**2], -1)
        return bent, torch.zeros_like(first)


def _model(flow, omega):
    return PhaseSpaceModel(flow, HarmonicPrior(omega), FlowOptions())


def _linear_model():
    torch.manual_seed(3)
    flow = LinearSymplectic(6).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(std=0.3)
    return _model(flow, torch.tensor([0.4, 1.0, 2.3], dtype=torch.float64))


def _line(spectrum, omega):
    """Weight of the main lobe, ±2 bins, around one frequency, and its error."""
    room = 2.01 * spectrum.omega[1]
    return spectrum.weight(omega - room, omega + room)


def _agrees(measured, exact, relative=0.025):
    weight, error = measured
    # the window leaves less than a thousandth of a line outside its main lobe
    return abs(weight - exact) < 2 * error + 1e-3 * exact and abs(weight / exact - 1) < relative


@pytest.fixture(scope="module")
def chain():
    flow = PointTransformation([NormalModes(CHAIN.normal_modes(), 0.3 * torch.ones(16).double())])
    return _model(flow, CHAIN.exact_omega())


@pytest.fixture(scope="module")
def chain_spectrum(chain):
    return power_spectrum(chain)


@pytest.fixture(scope="module")
def bent_spectrum():
    return power_spectrum(_model(PointTransformation([Parabola()]), BENT_OMEGA), [0.0, 1.0], 4096)


def test_oscillators_keep_their_energy_and_solve_hamiltons_equations():
    omega = CHAIN.exact_omega()
    p, q = torch.randn(2, 5, 16, dtype=torch.float64)
    time = torch.tensor([0.0, 1e-6, 7.0, 1234.5], dtype=torch.float64)
    later_p, later_q = propagate(p, q, omega, time)
    assert later_p.shape == later_q.shape == (5, 4, 16)
    assert torch.equal(later_p[:, 0], p) and torch.equal(later_q[:, 0], q)
    energy = later_p**2 + (omega * later_q) ** 2
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((later_q[:, 1] - q) / 1e-6, p, rtol=0, atol=1e-5)
    torch.testing.assert_close((later_p[:, 1] - p) / 1e-6, -(omega**2) * q, rtol=0, atol=1e-5)


def test_propagation_is_a_symplectic_rotation():
    omega, time = BENT_OMEGA, torch.tensor([3.7], dtype=torch.float64)
    unit = torch.eye(4, dtype=torch.float64)
    rows = torch.cat(propagate(unit[:, :2], unit[:, 2:], omega, time), -1)[:, 0]
    form = symplectic_form(4)
    torch.testing.assert_close(rows @ form @ rows.T, form, rtol=0, atol=1e-14)
    # orthogonal once Q is measured in units of 1/ω
    scale = torch.cat([torch.ones(2, dtype=torch.float64), omega])
    rotation = rows * scale / scale[:, None]
    torch.testing.assert_close(rotation @ rotation.T, unit, rtol=0, atol=1e-14)


def test_draws_follow_the_latent_density():
    p, q = _draw(BENT_OMEGA, (8, 8192), torch.Generator().manual_seed(1))
    p, q = p.flatten(0, 1), q.flatten(0, 1)
    z = torch.cat([p, BENT_OMEGA * q], -1)
    torch.testing.assert_close(z.mean(0), torch.zeros(4).double(), rtol=0, atol=0.01)
    torch.testing.assert_close(z.T.cov(), torch.eye(4).double(), rtol=0, atol=0.03)
    torch.testing.assert_close((z**4).mean(0), 3 * torch.ones(4).double(), rtol=0, atol=0.15)


def test_draws_are_stratified_in_each_replicate_and_in_all():
    n, m = 4, 6
    p, q = _draw(torch.ones(3).double(), (n, m), torch.Generator().manual_seed(2))
    action = torch.exp(-0.5 * (p**2 + q**2))
    turn = torch.atan2(-p, q) / (2 * math.pi) % 1.0
    for uniform in (action, turn):
        whole = (n * m * uniform).floor().flatten(0, 1).sort(0).values
        assert torch.equal(whole, torch.arange(n * m).double()[:, None].expand(-1, 3))
        each = (m * uniform).floor().sort(1).values
        assert torch.equal(each, torch.arange(m).double()[:, None].expand(n, m, 3))


@pytest.mark.statistical
def test_stated_errors_hold_for_many_seeds(chain):
    # independent replicates would be told by their few largest actions: 6 errors off at times
    row, frequency = CHAIN.normal_modes()[:, 0], float(CHAIN.exact_omega()[0])
    weights = [
        _line(power_spectrum(chain, row, 64, seed, most_points=1024), frequency)
        for seed in range(12)
    ]
    assert all(_agrees(weight, frequency**-2, 0.08) for weight in weights)


def test_a_harmonic_chain_has_its_normal_modes_as_lines(chain_spectrum):
    omega = CHAIN.exact_omega().numpy()
    assert chain_spectrum.resolution < np.diff(omega).min()
    for frequency in omega:
        assert _agrees(_line(chain_spectrum, frequency), frequency**-2)
    peaks = np.argsort(chain_spectrum.density)[-1]
    assert abs(chain_spectrum.omega[peaks] - omega[0]) < chain_spectrum.omega[1]
    lines = sum(_line(chain_spectrum, frequency)[0] for frequency in omega)
    assert lines == pytest.approx(chain_spectrum.weight()[0], rel=1e-3)


def test_the_integral_is_the_variance(chain_spectrum, bent_spectrum):
    exact = float((CHAIN.exact_omega() ** -2).sum())
    assert chain_spectrum.variance == pytest.approx(exact, rel=3e-3)
    assert _agrees(chain_spectrum.weight(), exact, 5e-3)
    exact = float(BENT_OMEGA[1] ** -2) + 2 * BEND**2
    assert bent_spectrum.variance == pytest.approx(exact, rel=0.02)
    assert _agrees(bent_spectrum.weight(), exact)


def test_one_site_of_the_chain_weighs_the_modes_by_its_part_in_them(chain):
    site = torch.zeros(16)
    site[4] = 1.0
    spectrum = power_spectrum(chain, site)
    for k, frequency in enumerate(CHAIN.exact_omega().tolist()):
        exact = float(CHAIN.normal_modes()[4, k] ** 2) / frequency**2
        assert _agrees(_line(spectrum, frequency), exact)


def test_a_normal_mode_has_one_line(chain):
    spectrum = power_spectrum(chain, CHAIN.normal_modes()[:, 5].numpy())
    frequency = float(CHAIN.exact_omega()[5])
    assert _agrees(_line(spectrum, frequency), frequency**-2)
    assert _line(spectrum, frequency)[0] > 0.998 * spectrum.weight()[0]


def test_momenta_reach_the_coordinates_of_a_linear_flow():
    model = _linear_model()
    spectrum = power_spectrum(model)
    unit = torch.eye(6, dtype=torch.float64)
    with torch.no_grad():  # q of unit latent momenta and of unit latent coordinates
        q = model.flow.pull(unit[:, :3], unit[:, 3:])[1]
    assert q[:3].abs().max() > 0.1
    by_mode = (q[:3] ** 2).sum(1) + (q[3:] ** 2).sum(1) / model.omega**2
    for frequency, exact in zip(model.omega.tolist(), by_mode.tolist(), strict=True):
        assert _agrees(_line(spectrum, frequency), exact)
    assert spectrum.variance == pytest.approx(float(by_mode.sum()), rel=0.01)


def test_a_bent_flow_has_an_overtone(bent_spectrum):
    # Q_1² = (r²/2ω²)(1 + cos 2φ) with ⟨r⁴⟩ = 8 and ⟨r²⟩ = 2
    first, second = BENT_OMEGA.tolist()
    overtone = BEND**2 / first**4
    assert _agrees(_line(bent_spectrum, 2 * first), overtone)
    assert _agrees(_line(bent_spectrum, 0.0), overtone)
    assert _agrees(_line(bent_spectrum, second), second**-2)
    assert _line(bent_spectrum, first)[0] < 1e-6 * overtone


def test_spectra_are_repeatable_and_several_observables_add_up():
    model = _linear_model()
    whole, again = power_spectrum(model, samples=8), power_spectrum(model, torch.eye(3), 8)
    for field in fields(PowerSpectrum):
        first, second = getattr(whole, field.name), getattr(again, field.name)
        assert np.array_equal(first, second)
    parts = [power_spectrum(model, row, samples=8).density for row in np.eye(3)]
    np.testing.assert_allclose(sum(parts), whole.density, rtol=1e-9, atol=1e-20)
    other = power_spectrum(model, samples=8, seed=1).density
    assert not np.allclose(other, whole.density)


def test_points_are_capped_and_single_precision_serves():
    omega = torch.tensor([0.01, 1.0, 1.0])  # equal frequencies cannot be parted
    flow = PointTransformation([NormalModes(torch.eye(3), torch.zeros(3))])
    spectrum = power_spectrum(_model(flow, omega), samples=9, most_points=2000)
    assert spectrum.samples == 16
    assert len(spectrum.omega) == 1001
    assert spectrum.omega[-1] == pytest.approx(math.pi / spectrum.time_step)
    assert spectrum.resolution == pytest.approx(1.5 * 2 * math.pi / (2000 * spectrum.time_step))
    assert np.isfinite(spectrum.density).all()


@pytest.mark.parametrize("width", [None, 0.02, 0.5])
def test_the_density_of_modes_has_unit_integral(width):
    omega = torch.tensor([2.0, 2.5, 40.0, 700.0])
    grid, density = spectral_density(omega, width)
    share = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
    assert share[-1] == pytest.approx(1.0, abs=2e-3)
    assert np.interp(10.0, grid, share) == pytest.approx(0.5, abs=5e-3)


@pytest.mark.parametrize(
    "observable",
    [[1.0, 2.0], [[1.0], [2.0]], [1.0, 2.0, math.nan], [0.0, 0.0, 0.0], np.zeros((0, 3)), 1.0],
)
def test_observables_that_make_no_sense(observable):
    with pytest.raises(OptionError, match="observable"):
        power_spectrum(_linear_model(), observable)


def test_other_options_that_make_no_sense():
    for wrong in ({"samples": 7}, {"most_points": 10}):
        with pytest.raises(OptionError, match="at least"):
            power_spectrum(_linear_model(), **wrong)
    for omega, width in (([], None), ([1.0, 0.0], None), ([1.0, math.inf], None), ([1.0], 0.0)):
        with pytest.raises(OptionError, match="positive"):
            spectral_density(omega, width)


@pytest.mark.parametrize("unit", ["rad/ps", "reduced units"])
def test_figure(tmp_path, unit, chain_spectrum):
    omega = CHAIN.exact_omega().numpy()
    if unit == "rad/ps":  # a range that is drawn on a log axis
        omega = np.append(omega, 50.0 * omega[0])
    save_figure(plot_spectrum(omega, chain_spectrum, unit), tmp_path / "spectrum.png")
    assert imread(tmp_path / "spectrum.png").std() > 0.01
