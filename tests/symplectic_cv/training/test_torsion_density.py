"""Densities of torsion models: trained, weighted, stored, resumed, refused where they cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ligands import molecule_of
from torus import SMALL, chain_frames, chain_molecule, data_of

import symplectic_cv as sc
from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.errors import FrameError, ModelError, OptionError, OutputError, SelectionError
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.models.prior import PendulumPrior
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.internal import settle_latent_space
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.torsion_density import TorsionDensityResult


def two_wells(n_frames: int, seed: int = 0, share: float = 0.5) -> np.ndarray:
    """Two torsions: the second follows the well of the first, (F, 2) in rad."""
    rng = np.random.default_rng(seed)
    first = rng.vonmises(np.where(rng.random(n_frames) < share, 1.2, -1.8), 6.0)
    second = rng.vonmises(np.where(first > 0.0, 2.5, -0.5), 5.0)
    return np.stack([first, second], 1)


def five_atoms(torsions: np.ndarray, lengths: list[int] | None = None):
    return data_of(chain_frames(torsions), chain_molecule(5), lengths)


@pytest.fixture(scope="module")
def trained() -> TorsionDensityResult:
    result = sc.fit(five_atoms(two_wells(1500)), chart="torsion", density=True, steps=150, **SMALL)
    assert isinstance(result, TorsionDensityResult)
    return result


def test_a_training_lowers_the_nll_of_phase_space(trained: TorsionDensityResult) -> None:
    training = trained.training
    assert training.validation_nll < training.gaussian_nll - 0.2
    assert trained.validation_nll == training.validation_nll
    assert math.isfinite(training.validation_nll_configuration)
    assert training.history[-1].validation_nll < training.history[0].validation_nll
    # momenta cost at least the entropy of a standard normal in each dimension
    momentum = training.validation_nll - training.validation_nll_configuration
    assert momentum > 9 * 0.5 * (1.0 + math.log(2.0 * math.pi)) - 0.5


def test_nlls_are_those_of_the_model(trained: TorsionDensityResult) -> None:
    """The NLL of structures is −ln ρ(q) of other frames, and own samples are as likely."""
    model = trained.model
    other = chain_frames(two_wells(2000, seed=9), seed=5)
    nll = -model.log_likelihood(other)
    error = nll.std() / math.sqrt(len(nll))
    assert abs(nll.mean() - trained.training.validation_nll_configuration) < 4.0 * error + 0.3
    samples = model.sample(1000)
    assert samples.shape == (1000, 5, 3)
    own = -model.log_likelihood(samples)
    assert abs(own.mean() - nll.mean()) < 1.0


def test_modes_stay_those_of_least_frequency(trained: TorsionDensityResult) -> None:
    data = five_atoms(two_wells(1500))
    alone = sc.fit(data, chart="torsion")
    np.testing.assert_array_equal(alone.model.coefficients, trained.model.coefficients)
    np.testing.assert_array_equal(alone.model.modes(data), trained.model.modes(data))
    assert alone.model.density is None
    with pytest.raises(ModelError, match="no density"):
        alone.model.sample(3)


def test_structures_come_back_from_their_latent_coordinates(trained: TorsionDensityResult) -> None:
    x = chain_frames(two_wells(20, seed=3))
    density = in_float64(trained.model.density)
    latent = density.encode(x)
    assert latent.shape == (20, 9)
    np.testing.assert_allclose(
        density.decode(latent), density.frame.superpose(torch.from_numpy(x)), atol=1e-7
    )


def test_the_latent_space_is_settled(trained: TorsionDensityResult) -> None:
    """Slowest first; ⟨P²⟩ of oscillators is 1, that of pendulums I, ⟨cos θ⟩ is I₁/I₀ of κ."""
    data = five_atoms(two_wells(1500))
    density = in_float64(trained.model.density)
    prior = density.prior
    assert isinstance(prior, PendulumPrior)
    assert bool((density.omega.diff() >= 0.0).all())
    q = density.frame.coordinates(torch.as_tensor(data.positions).double())
    p = torch.randn(q.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        p_latent, latent = density.flow.push(p, q)
    square = (p_latent / prior.momentum_spread).square()
    error = square.std(0) / math.sqrt(len(q))
    # the training frames settled it with other momenta, the held-out tenth did not
    assert bool(((square.mean(0) - 1.0).abs() < 5.0 * error + 0.1).all())
    cosine = latent[:, prior.pendulums].cos()
    expected = torch.special.i1e(prior.kappa) / torch.special.i0e(prior.kappa)
    assert bool(((cosine.mean(0) - expected).abs() < 0.06).all())


def test_settling_lowers_the_loss_of_the_training_frames() -> None:
    options = TrainingOptions(chart="torsion", **SMALL)
    prepared = prepare(five_atoms(two_wells(600)), None, 300.0, options)

    def loss() -> float:
        model = in_float64(prepared.model)
        q = prepared.training
        g = torch.Generator().manual_seed(20200429)
        p = torch.randint(0, 2, q.shape, generator=g).double() * 2.0 - 1.0
        with torch.no_grad():
            return float(-model.log_prob(p, q).mean())

    before = loss()
    settle_latent_space(prepared)
    assert loss() <= before + 1e-6


def test_weights_count(trained: TorsionDensityResult) -> None:
    """Frames of the second well without weight leave a model of the first alone."""
    torsions = two_wells(1200, seed=4)
    weights = np.where(torsions[:, 0] > 0.0, 1.0, 0.0)
    data = five_atoms(torsions)
    result = sc.fit(data, chart="torsion", density=True, weights=weights, steps=60, **SMALL)
    samples = result.model.torsions(result.model.sample(400))
    assert (np.abs(np.angle(np.exp(1j * (samples[:, 0] - 1.2)))) < 1.6).mean() > 0.95


def test_one_torsion_and_several_runs() -> None:
    torsions = np.random.default_rng(0).vonmises(0.5, 2.0, size=(300, 1))
    data = data_of(chain_frames(torsions), chain_molecule(4), [100, 200])
    result = sc.fit(data, chart="torsion", density=True, steps=5, **SMALL)
    assert result.model.density.prior.pendulums.shape == (1,)
    assert result.model.sample(5).shape == (5, 4, 3)
    assert np.isfinite(result.model.log_likelihood(data.positions)).all()


RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 5), (5, 6), (6, 7)]
"""Cyclopentane with a chain of three."""


def ring_frames(n_frames: int) -> np.ndarray:
    """Frames of it: the chain turns, the ring puckers; (F, 8, 3) in nm."""
    molecule = molecule_of("C" * 8, RING)
    rng = np.random.default_rng(2)
    shape = np.zeros((8, 3))
    angles = 2.0 * np.pi * np.arange(5) / 5
    shape[:5] = 0.13 * np.c_[np.cos(angles), np.sin(angles), 0.2 * np.cos(2 * angles)]
    shape[5], shape[6], shape[7] = [0.27, 0.0, 0.05], [0.33, 0.13, 0.05], [0.48, 0.13, 0.1]
    frame = EckartFrame(torch.from_numpy(shape), torch.as_tensor(molecule.masses), 300.0)
    chart = InternalCoordinates(frame, molecule_z_matrix(molecule, [(1, 0, 5, 6), (0, 5, 6, 7)]))
    xi = chart(torch.zeros(1, 18, dtype=torch.float64))[0].numpy()
    spread = np.r_[np.full(7, 0.003), np.full(6, 0.04), np.full(5, 0.15)]
    xi = xi + spread * rng.normal(size=(n_frames, 18))
    rows = [set(row) for row in np.c_[chart.atoms, chart.references].tolist()]
    for atoms in ({1, 0, 5, 6}, {0, 5, 6, 7}):
        xi[:, 10 + rows.index(atoms)] = rng.vonmises(1.0, 1.5, n_frames)
    return chart.place(torch.from_numpy(xi)).numpy()


@pytest.fixture(scope="module")
def with_ring():
    x = ring_frames(900)
    data = data_of(x, molecule_of("C" * 8, RING))
    return sc.fit(data, chart="torsion", density=True, steps=60, **SMALL).model, x


def test_ring_torsions_are_internal_coordinates_and_modes_may_use_them(with_ring) -> None:
    model, x = with_ring
    assert sum(bond.in_ring for bond in model.bonds) == 5
    assert len(model.density.prior.pendulums) >= 2
    density = in_float64(model.density)
    back = density.decode(density.encode(x[:5]))
    np.testing.assert_allclose(back, density.frame.superpose(torch.from_numpy(x[:5])), atol=1e-6)
    found = sc.conditional_structures(model, {0: 0.4}, 60)
    np.testing.assert_allclose(model.modes(found.positions)[:, 0], 0.4, atol=1e-6)
    assert np.isfinite(found.log_likelihood).all()


@pytest.mark.slow
@pytest.mark.statistical
def test_a_value_of_a_mode_that_ring_torsions_carry(with_ring) -> None:
    """Against the samples of the density whose mode lies in a narrow window about the value."""
    model, _ = with_ring
    x = model.sample(60_000, seed=1)
    near = x[np.abs(model.modes(x)[:, 0] - 0.4) < 0.03]
    found = sc.conditional_structures(model, {0: 0.4}, 600, seed=2).positions
    for function in (np.cos, np.sin):
        a, b = (function(model.torsions(y)) for y in (near, found))
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
        assert (np.abs(a.mean(0) - b.mean(0)) < 4.0 * error + 2e-3).all()


def test_equivalent_oxygens_are_exchanged() -> None:
    """A carboxylate that never turns in the data turns in the density: both halves alike."""
    bonds = [(0, 1), (1, 2), (2, 3), (2, 4)]
    molecule = molecule_of("CCCOO", bonds)
    rng = np.random.default_rng(0)
    shape = np.array([[-5, 10, 10], [0, 0, 0], [15, 0, 0], [21, 11, 0], [21, -11, 0]]) / 100
    x = shape + 0.006 * rng.normal(size=(800, 5, 3))
    result = sc.fit(data_of(x, molecule), chart="torsion", density=True, steps=150, **SMALL)
    assert result.model.folds == [2]
    samples = result.model.sample(2000)
    first = np.cos(result.model.torsions(samples)[:, 0] - result.model.torsions(x)[:, 0].mean())
    assert 0.3 < (first > 0.0).mean() < 0.7


def test_a_folder_keeps_modes_and_density(trained: TorsionDensityResult, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    trained.save(folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "history.csv",
    }  # fmt: skip
    again = sc.load_torsion_model(folder)
    x = chain_frames(two_wells(10, seed=3))
    np.testing.assert_array_equal(again.modes(x), trained.model.modes(x))
    np.testing.assert_array_equal(again.log_likelihood(x), trained.model.log_likelihood(x))
    np.testing.assert_array_equal(again.sample(4, seed=1), trained.model.sample(4, seed=1))
    assert type(sc.load_modes(folder)) is type(again)
    np.testing.assert_array_equal(sc.load_model(folder).encode(x), again.encode(x))
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="truncated or altered"):
        sc.load_torsion_model(folder)
    weights.unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        sc.load_modes(folder)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    data = five_atoms(two_wells(200))
    options = {"chart": "torsion", "density": True, "steps": 8, **SMALL, "layers": 1}

    def kill(step, row):
        if row is not None and row.step >= 4:
            raise Killed

    whole = sc.fit(data, **options, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        sc.fit(data, **options, folder=tmp_path / "killed", progress=kill)
    with pytest.raises(OutputError, match="modes_sha256 was"):
        sc.fit(data, **options, order=1, folder=tmp_path / "killed", resume=True)
    again = sc.fit(data, **options, folder=tmp_path / "killed", resume=True)
    for one, other in zip(
        again.model.density.parameters(), whole.model.density.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    read = sc.fit(data, **options, folder=tmp_path / "killed", resume=True)
    assert read.validation_nll == again.validation_nll
    np.testing.assert_array_equal(read.model.sample(3), again.model.sample(3))


def test_folders_of_modes_alone_and_with_a_density_are_told_apart(
    trained: TorsionDensityResult, tmp_path: Path
) -> None:
    data = five_atoms(two_wells(300))
    trained.save(tmp_path / "both")
    before = (tmp_path / "both" / "config.json").read_bytes()
    with pytest.raises(OutputError, match="already holds another run"):
        sc.fit(data, chart="torsion", folder=tmp_path / "both", resume=True)
    assert (tmp_path / "both" / "config.json").read_bytes() == before
    sc.fit(data, chart="torsion", folder=tmp_path / "alone")
    with pytest.raises(OutputError, match="not modes of torsions with a density"):
        sc.fit(data, chart="torsion", density=True, steps=2, folder=tmp_path / "alone", resume=True)
    with pytest.raises(ModelError, match="without their density"):
        sc.load_model(tmp_path / "alone")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chart": "internal"}, "`density` needs `chart='torsion'`"),
        ({"chart": "torsion", "coupling": "affine"}, "`coupling='affine'` has no angles"),
        ({"chart": "torsion", "coupling": "autoregressive"}, "is for `chart='internal'`"),
        ({"chart": "torsion", "energy_weight": 1.0}, "needs `chart='internal'`"),
        ({"chart": "torsion", "order": 5}, "`order` must be"),
        ({"chart": "torsion", "depth": 5}, "`depth` is unknown"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        sc.fit(five_atoms(two_wells(100)), density=True, **options)


def test_training_options_need_a_density() -> None:
    with pytest.raises(OptionError, match=r"`steps` has no meaning .* without `density`"):
        sc.fit(five_atoms(two_wells(100)), chart="torsion", steps=5)


def test_several_molecules_are_refused() -> None:
    molecule = molecule_of("CCCCCCCC", [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)])
    rng = np.random.default_rng(0)
    one = chain_frames(rng.vonmises(0.0, 1.0, (200, 1)), 1)
    other = chain_frames(rng.vonmises(0.0, 1.0, (200, 1)), 2) + 0.8
    data = data_of(np.concatenate([one, other], 1), molecule)
    with pytest.raises(SelectionError, match=r"`density`\) needs one connected molecule"):
        sc.fit(data, chart="torsion", density=True, steps=2, **SMALL)


def test_a_torsion_that_never_moves_is_refused() -> None:
    torsions = two_wells(300)
    x = chain_frames(torsions)
    x[:] = x[:1]
    x += 1e-9 * np.random.default_rng(0).normal(size=x.shape)
    with pytest.raises(FrameError):
        sc.fit(data_of(x, chain_molecule(5)), chart="torsion", density=True, steps=2, **SMALL)


def test_the_callers_random_state_stays(trained: TorsionDensityResult) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    prepared = prepare(
        five_atoms(two_wells(200)), None, 300.0, TrainingOptions(chart="torsion", steps=1, **SMALL)
    )
    train(prepared)
    assert torch.equal(torch.rand(2), expected)
