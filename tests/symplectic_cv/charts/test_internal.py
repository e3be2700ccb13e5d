"""Internal coordinates: the Z-matrix, the exact Jacobian, the lift to momenta, the flow in them."""

import math

import mdtraj as md
import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import halves_by_bits, internal_flow, latent_scale
from symplectic_cv.charts.standard import standardise, widest_gap, wrap
from symplectic_cv.charts.zmatrix import molecule_z_matrix, z_matrix
from symplectic_cv.errors import FrameError, ModelError, OptionError, SelectionError
from symplectic_cv.exporting.export import export
from symplectic_cv.flows.autoregressive import AutoregressiveSpline
from symplectic_cv.flows.canonical import symplectic_defect
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.flows.parts import AngleToLine, ConditionalGaussian, Scale, SubsetLayer
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.model_folder import load_model, save_model
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.options import TrainingOptions

OPTIONS = FlowOptions(coupling=Coupling.SPLINE, layers=2, hidden=8, bins=4, chart=Chart.INTERNAL)


@pytest.fixture(scope="module")
def chart(molecule, dipeptide):
    frame = EckartFrame(torch.tensor(dipeptide), torch.tensor(molecule.masses), 300.0)
    return InternalCoordinates(frame, molecule_z_matrix(molecule))


@pytest.fixture(scope="module")
def points():
    """q near the reference, (4, 24) in ps."""
    generator = torch.Generator().manual_seed(1)
    return 0.01 * torch.randn(4, 24, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def spinning(chart):
    """ξ of frames whose first two torsions go round, with all the rest stiff, (600, 24)."""
    rng = np.random.default_rng(2)
    centre = chart(torch.zeros(1, 24, dtype=torch.float64))[0].numpy()
    xi = centre + rng.normal(size=(600, 24)) * np.r_[np.full(9, 0.003), np.full(15, 0.06)]
    xi[:, 17:19] = rng.uniform(-np.pi, np.pi, size=(600, 2))
    return wrap_torsions(torch.from_numpy(xi))


def wrap_torsions(xi):
    xi[:, 17:] = wrap(xi[:, 17:])
    return xi


@pytest.fixture(scope="module")
def flow(chart, spinning, perturb):
    """A flow of random weights in internal coordinates."""
    standard = standardise(spinning, 10)
    scale = latent_scale(chart, standard, chart.inverse(spinning[:8])[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = internal_flow(OPTIONS, chart, standard, scale)
    perturb(whole, seed=4, size=0.1)
    return whole.double()


def test_rows_join_what_is_bonded(molecule):
    table = molecule_z_matrix(molecule)
    bonds = {frozenset(pair) for pair in molecule.bonds}
    assert sorted(table.atoms.tolist()) == list(range(10))
    for row, (atom, (a, b, c)) in enumerate(zip(table.atoms, table.references, strict=True)):
        before = set(table.atoms[:row].tolist())
        assert {k for k in (a, b, c) if k >= 0} <= before
        if row >= 1:
            assert frozenset((int(atom), int(a))) in bonds
        if row >= 2:
            assert frozenset((int(a), int(b))) in bonds
        if row >= 3:
            assert len({int(atom), int(a), int(b), int(c)}) == 4
            assert frozenset((int(b), int(c))) in bonds or frozenset((int(a), int(c))) in bonds


def test_branches_of_a_bond_share_one_soft_torsion():
    """Ethane: one torsion about C–C; the other hydrogens are placed against a first one."""
    bonds = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7)]
    table = z_matrix(8, bonds, [True, True, *[False] * 6])
    about = [
        row
        for atom, row in zip(table.atoms.tolist()[3:], table.references.tolist()[3:], strict=True)
        if {row[0], row[1]} == {0, 1} and frozenset((row[1], row[2])) in map(frozenset, bonds)
        and row[2] not in [a for a, r in zip(table.atoms, table.references, strict=True)
                           if r[0] == row[0]]
    ]  # fmt: skip
    assert len(about) == 1


def test_rings_are_cut_and_pieces_refused():
    table = z_matrix(5, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)])
    assert sorted(table.atoms.tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(SelectionError, match="atoms 1 and 4 of the model are not joined"):
        z_matrix(5, [(0, 1), (1, 2), (3, 4)])
    with pytest.raises(SelectionError, match="at least 3 atoms"):
        z_matrix(2, [(0, 1)])


def test_bonds_angles_and_torsions_are_those_of_mdtraj(chart, molecule, points):
    xi = chart(points)[0].numpy()
    trajectory = md.Trajectory(chart._positions(points).numpy(), molecule.topology)
    rows = np.c_[chart.atoms, chart.references]
    np.testing.assert_allclose(
        xi[:, :9], md.compute_distances(trajectory, rows[1:, :2], periodic=False), atol=1e-6
    )
    np.testing.assert_allclose(
        xi[:, 9:17], md.compute_angles(trajectory, rows[2:, :3], periodic=False), atol=1e-5
    )
    torsions = md.compute_dihedrals(trajectory, rows[3:], periodic=False)
    np.testing.assert_allclose(np.exp(1j * torsions), np.exp(1j * xi[:, 17:]), atol=1e-5)


def test_the_volume_is_r_squared_sine_theta(chart, points):
    """Against the full determinant, with the three turns and three shifts as further columns."""
    xi = chart(points)[0][0]
    slopes = jacobian(lambda v: chart.place(v).reshape(-1), xi)
    x = chart.place(xi)
    axes = torch.eye(3, dtype=torch.float64)
    rigid = [axis.expand(10, 3).reshape(-1) for axis in axes]
    rigid += [torch.linalg.cross(axis.expand(10, 3), x).reshape(-1) for axis in axes]
    whole = torch.cat([slopes, torch.stack(rigid, 1)], 1)
    expected = 2.0 * xi[:9].log().sum() + xi[9:17].sin().log().sum()
    torch.testing.assert_close(torch.linalg.slogdet(whole)[1], expected, rtol=0.0, atol=1e-10)


def test_structures_are_kept_not_mirrored(chart, points):
    """The way back gives the same structure, and a mirror image another ξ."""
    q = chart.inverse(chart(points)[0])[0]
    torch.testing.assert_close(q, points, rtol=0.0, atol=1e-12)
    mirrored = chart._from_positions(chart._positions(points) * torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(mirrored[:, :17], chart(points)[0][:, :17])
    torch.testing.assert_close(mirrored[:, 17:], -chart(points)[0][:, 17:])


def test_what_is_no_structure_has_no_density(chart, points):
    xi = chart(points)[0]
    xi[0, 0], xi[1, 9], xi[2, 20] = -0.1, math.pi + 0.01, math.pi + 0.01
    log_det = chart.inverse(xi)[1]
    assert torch.isposinf(log_det[:3]).all()
    assert torch.isfinite(log_det[3])


def layers():
    angles, line = torch.arange(2), torch.arange(2, 6)
    inner = AffineCoupling(torch.tensor([0, 2]), torch.tensor([1]), torch.ones(3), 8)
    return {
        "conditional": ConditionalGaussian(angles, line, 8),
        "autoregressive": AutoregressiveSpline(angles, line, 2, 8, 4),
        "line": SubsetLayer(AngleToLine(), angles, 6),
        "scale": Scale(torch.linspace(0.5, 3.0, 6)),
        "part": SubsetLayer(inner, torch.tensor([4, 0, 3]), 6),
    }


@pytest.mark.parametrize("name", list(layers()))
def test_layers_are_canonical_and_invertible(name, perturb):
    layer = layers()[name]
    perturb(layer, seed=6)
    require_exact(PointTransformation([layer.double()]), 6, scale=0.7)


def test_a_conditional_gaussian_starts_as_a_regression():
    """b of a known law becomes white and independent of the angles; also where frames weigh."""
    generator = torch.Generator().manual_seed(0)
    a = 2.0 * math.pi * torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    mix = torch.tensor([[0.5, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.2, 0.1, 1.5]]).double()
    b = noise @ mix.T + torch.stack([a[:, 0].cos(), (3 * a[:, 1]).sin(), 1.0 + a[:, 0].sin()], 1)
    layer = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    q = torch.cat([a, b], 1)
    layer.fit(q)
    white = layer(q)[0][:, 2:].detach()
    torch.testing.assert_close(white.mean(0), torch.zeros(3).double(), rtol=0.0, atol=1e-9)
    torch.testing.assert_close(
        torch.cov(white.T, correction=0), torch.eye(3).double(), rtol=0.0, atol=1e-9
    )
    assert float((white.T @ a.cos()).abs().max()) / 4000 < 1e-9
    doubled = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    doubled.fit(q, (torch.arange(4000) < 2000).double())
    half = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    half.fit(q[:2000])
    torch.testing.assert_close(doubled.linear, half.linear)


def test_the_chart_is(chart, points):
    require_exact(PointTransformation([chart]), 24, points)


def test_the_scaling_is(spinning):
    layer = standardise(spinning, 10)
    assert len(layer.round) == 2
    require_exact(PointTransformation([layer]), 24, spinning[:4])


def test_the_whole_flow_is(flow, chart, spinning):
    require_exact(flow, 24, chart.inverse(spinning[10:13])[0], tolerance=1e-7)


def require_exact(flow, n, q=None, scale=1.0, tolerance=1e-9):
    """Inverse, log-determinant against autograd both ways, M J Mᵀ = J, momenta there and back."""
    generator = torch.Generator().manual_seed(9)
    if q is None:
        q = scale * torch.randn(3, n, generator=generator, dtype=torch.float64)
    p = torch.randn(q.shape, generator=generator, dtype=torch.float64)
    latent, log_det = flow(q)
    back, back_log_det = flow.inverse(latent)
    torch.testing.assert_close(back, q, rtol=0.0, atol=tolerance)
    torch.testing.assert_close(back_log_det, -log_det, rtol=0.0, atol=1e2 * tolerance)
    slopes = jacobian(lambda x: flow(x.unsqueeze(0))[0][0], q[0])
    torch.testing.assert_close(
        torch.linalg.slogdet(slopes)[1], log_det[0].detach(), rtol=0.0, atol=1e2 * tolerance
    )
    p_latent, pushed = flow.push(p, q)
    torch.testing.assert_close(pushed, latent)
    torch.testing.assert_close(
        p_latent[0] @ slopes, p[0], rtol=0.0, atol=1e2 * tolerance * float(slopes.abs().max())
    )
    p_back, _ = flow.pull(p_latent.detach(), latent.detach())
    torch.testing.assert_close(p_back, p, rtol=0.0, atol=1e3 * tolerance)
    assert symplectic_defect(flow, torch.cat([p, q], -1)[:1]) < 1e2 * tolerance


@pytest.mark.statistical
def test_angles_become_standard_normal():
    uniform = (torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0)) - 0.5).double()
    z = AngleToLine()(2.0 * math.pi * uniform)[0]
    error = 1.0 / math.sqrt(len(z))
    assert abs(float(z.mean())) < 4.0 * error
    assert abs(float(z.var()) - 1.0) < 4.0 * math.sqrt(2.0) * error
    edge = AngleToLine()(torch.tensor([[-math.pi], [math.pi]]))[0]
    assert torch.isfinite(edge).all()


def test_stiff_coordinates_are_white_and_round_ones_stay(spinning):
    layer = standardise(spinning, 10)
    z = layer(spinning)[0]
    assert layer.round.tolist() == [17, 18]
    torch.testing.assert_close(
        torch.cov(z[:, 2:].T, correction=0), torch.eye(22, dtype=torch.float64), rtol=0, atol=1e-9
    )
    assert (z[:, :2].abs() <= math.pi).all()


def test_beyond_a_cut_a_structure_is_not_counted_again(spinning):
    layer = standardise(spinning, 10)
    z = torch.zeros(2, 24, dtype=torch.float64)
    xi, log_det = layer.inverse(z)
    d = xi.new_zeros(24)
    d[20] = 2.0 * math.pi  # once round a torsion that is cut
    z[1, 2:] = d[layer.line] @ layer.whitening
    xi, log_det = layer.inverse(z)
    torch.testing.assert_close(xi[0], xi[1], rtol=0.0, atol=1e-9)
    assert torch.isfinite(log_det[0])
    assert torch.isposinf(log_det[1])


def test_the_widest_gap_crosses_the_cut():
    width, middle = widest_gap(np.array([-3.0, 3.0, 2.5]))
    assert width == pytest.approx(5.5)
    assert middle == pytest.approx(-0.25)


def test_coordinates_that_do_not_move_are_told(spinning):
    rigid = spinning.clone()
    rigid[:, 3] = 0.1
    with pytest.raises(FrameError, match=r"1 internal coordinates do not move.*bond.*`flexible`"):
        standardise(rigid, 10)
    with pytest.raises(FrameError, match="20 frames cannot determine 24"):
        standardise(spinning[:20].clone(), 10)


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
