"""The flow in internal coordinates: exact, with momenta of unit size, trained and stored."""

import math

import pytest
import torch
from identities import require_exact

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import (
    halves_by_bits,
    internal_flow,
    latent_scale,
    momentum_covariance,
)
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.standard import along_normal_modes, standardise
from symplectic_cv.charts.torsion_metric import momentum_metric, torsion_angles
from symplectic_cv.charts.zmatrix import molecule_z_matrix, torsion_rows
from symplectic_cv.errors import FrameError, ModelError, OptionError
from symplectic_cv.exporting.export import export
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.flows.parts import AngleToLine, SubsetLayer
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.model_folder import load_model, save_model
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.options import TrainingOptions


def test_the_whole_flow_is(flow, chart, spinning):
    require_exact(flow, 24, chart.inverse(spinning[10:13])[0], tolerance=1e-7)


@pytest.fixture(scope="module")
def torsions(molecule, chart, dipeptide):
    """Internal coordinates with the named torsions among them, and these torsions' places."""
    atoms = [bond.atoms for bond in find_rotatable_bonds(molecule, dipeptide)]
    table = molecule_z_matrix(molecule, atoms)
    places = [14 + row for row in torsion_rows(table, atoms)]
    frame = EckartFrame(torch.tensor(dipeptide), torch.tensor(molecule.masses), 300.0)
    return InternalCoordinates(frame, table), places


def test_torsions_of_rotatable_bonds_are_coordinates(
    molecule, chart, torsions, spinning, dipeptide
):
    own, places = torsions
    positions = chart.place(spinning[:20])
    xi = own(own._coordinates(positions))[0]
    bonds = find_rotatable_bonds(molecule, dipeptide)
    torch.testing.assert_close(
        xi[:, places].numpy(), torsion_angles(positions.numpy(), bonds), rtol=0.0, atol=1e-9
    )


def test_momenta_of_torsions_have_the_mass_matrix_as_their_covariance(
    molecule, chart, torsions, spinning, dipeptide
):
    """p ~ N(0, 1) in the Eckart frame gives p_s whose covariance at zero angular momentum is M.

    p_s is a sum over atoms of ∂y/∂s · p. Without the part of rigid motion its covariance is the M
    of `torsion_metric`, exactly.
    """
    own, places = torsions
    q = own._coordinates(chart.place(spinning[:3]))
    rows = []
    for k in range(24):
        p = torch.zeros_like(q)
        p[:, k] = 1.0
        rows.append(own.push(p, q)[0].detach()[:, places])
    slopes = torch.stack(rows, 1)  # ∂q/∂s
    y, scale = own._positions(q), own.frame_scale.unsqueeze(-1)
    fields = own.frame_basis @ slopes  # √(m/kT) ∂y/∂s
    axes = torch.eye(3, dtype=torch.float64)
    shifts = [axis.expand_as(y) for axis in axes]
    spins = [torch.linalg.cross(axis.expand_as(y), y) for axis in axes]
    rigid = torch.stack([(scale * field).flatten(1) for field in (*shifts, *spins)], -1)
    within = torch.linalg.qr(rigid).Q
    inner = fields - within @ (within.transpose(1, 2) @ fields)
    bonds = find_rotatable_bonds(molecule, dipeptide)
    expected = torch.from_numpy(momentum_metric(y.numpy(), bonds, molecule, 300.0))
    torch.testing.assert_close(inner.transpose(1, 2) @ inner, expected, rtol=1e-8, atol=1e-10)
    # thermal rotation adds to it, and never takes away
    more = torch.linalg.eigvalsh(slopes.transpose(1, 2) @ slopes - expected)
    assert bool((more > -1e-10).all())


@pytest.mark.parametrize("n_angles", [1, 2, 4])
def test_the_whole_flow_of_the_torsion_chart_is(torsions, chart, spinning, perturb, n_angles):
    """Inverse, determinant, momenta and M J Mᵀ = J, with one latent pendulum and with several."""
    own, places = torsions
    q = own._coordinates(chart.place(spinning[:400]))
    xi = own(q)[0]
    xi[:, 17:] = xi[:, 17:] if n_angles > 1 else 0.05 * xi[:, 17:]
    standard = standardise(xi, 10, angles=places[:n_angles])
    assert len(standard.round) >= n_angles
    options = FlowOptions(coupling="spline", layers=2, hidden=8, bins=4, chart="torsion")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = internal_flow(options, own, standard, torch.ones(24))
    assert not any(
        isinstance(layer, SubsetLayer) and isinstance(layer.layer, AngleToLine)
        for layer in whole.layers
    )
    perturb(whole, seed=4, size=0.1)
    require_exact(whole.double(), 24, own.inverse(xi[10:13])[0], tolerance=1e-7)


def test_normal_modes_of_bonds_and_angles_have_uncorrelated_momenta(torsions, chart, spinning):
    own, places = torsions
    q = own._coordinates(chart.place(spinning[:64]))
    standard = standardise(own(q)[0], 10, angles=places)
    turned = along_normal_modes(standard, momentum_covariance(own, standard, q))
    k = len(turned.round)
    covariance = momentum_covariance(own, turned, q)[k:, k:]
    variances = covariance.diagonal()
    torch.testing.assert_close(covariance, torch.diag(variances), rtol=0.0, atol=1e-9)
    assert bool((variances.diff() < 0.0).all())  # slowest first
    z = turned(own(q)[0])[0][:, k:]
    torch.testing.assert_close(z.T.cov(correction=0), torch.eye(24 - k).double(), rtol=0, atol=1e-6)
    scale = latent_scale(own, turned, q)[k:]
    torch.testing.assert_close(scale**2, variances, rtol=0.5, atol=0.0)  # probes are few


def test_few_frames_for_what_follows_the_torsions_are_told(molecule, chart, one_handed):
    options = TrainingOptions(coupling=Coupling.SPLINE, layers=1, hidden=8, chart=Chart.INTERNAL)
    with pytest.raises(FrameError, match=r"\d+ frames for training cannot determine 24 internal"):
        prepare(chart.place(one_handed[:30]).numpy(), molecule, 300.0, options)


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
def test_the_scale_makes_momenta_of_unit_size(flow, chart, one_handed):
    """At the start (here: the layers without weights) P has unit variance, averaged over frames."""
    start = PointTransformation([*list(flow.layers)[:2], flow.layers[-2]])
    q = chart.inverse(one_handed[:8])[0]
    generator = torch.Generator().manual_seed(2)
    square = torch.zeros(24, dtype=torch.float64)
    for _ in range(50):
        p = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        square += start.push(p, q)[0].detach().square().mean(0) / 50
    # 16 probes gave the scale and 50 look at it: 4 standard errors of a mean of squares
    torch.testing.assert_close(square, torch.ones_like(square), rtol=0.0, atol=0.5)


@pytest.fixture(scope="module")
def trained(molecule, chart, one_handed):
    positions = chart.place(one_handed).numpy()
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


def test_a_killed_training_goes_on_as_if_it_had_not_been(molecule, chart, one_handed, tmp_path):
    positions = chart.place(one_handed[:120]).numpy()
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


def test_momenta_are_learned_where_wanted(molecule, chart, one_handed):
    positions = chart.place(one_handed[:200]).numpy()
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


def test_an_autoregressive_flow_is_trained_and_stored(molecule, chart, one_handed, tmp_path):
    positions = chart.place(one_handed[:200]).numpy()
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


def test_options_that_do_not_fit(molecule, chart, one_handed):
    with pytest.raises(OptionError, match=r"`coupling='affine'` .* use spline"):
        TrainingOptions(chart=Chart.INTERNAL, coupling="affine")
    with pytest.raises(OptionError, match="autoregressive'` is for `chart='internal'`"):
        TrainingOptions(coupling=Coupling.AUTOREGRESSIVE)
    with pytest.raises(OptionError, match="needs `chart='internal'`"):
        TrainingOptions(energy_weight=0.5)
    options = TrainingOptions(coupling=Coupling.SPLINE, chart=Chart.INTERNAL, energy_weight=0.5)
    with pytest.raises(OptionError, match=r"`energy_weight` needs .* give `energies`"):
        prepare(chart.place(one_handed).numpy(), molecule, 300.0, options)
