"""Built-in Hamiltonians against independent calculations; temperatures, caps; bad ones."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.hamiltonians.base import COLD, Hamiltonian, check_hamiltonian
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.lennard_jones_pair import LennardJonesPair
from symplectic_cv.hamiltonians.library import BUILT_IN, find_hamiltonian
from symplectic_cv.hamiltonians.reduced import ENERGY_CAP, ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.hamiltonians.start import cold_start


class Own(Hamiltonian):
    """A Hamiltonian as a user writes one, from a function of q."""

    name = "own"

    def __init__(self, potential, dimension=2, guess=None):
        self.dimension = dimension
        self._potential = potential
        self._guess = guess

    def potential(self, q):
        return self._potential(q)

    def guess(self):
        return super().guess() if self._guess is None else self._guess


@pytest.fixture(params=list(BUILT_IN))
def built_in(request):
    return find_hamiltonian(request.param, 5 if request.param == "harmonic-chain" else None)


def grid_free_energy(hamiltonian, beta, axes):
    """−ln Z by the midpoint rule on a grid of q; momenta by hand."""
    grids = torch.meshgrid(*[torch.as_tensor(axis) for axis in axes], indexing="ij")
    q = torch.stack([grid.reshape(-1) for grid in grids], -1)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    configurations = logsumexp(-beta * hamiltonian.potential(q).numpy()) + math.log(cell)
    return -0.5 * len(axes) * math.log(2.0 * math.pi / beta) - configurations


@pytest.mark.parametrize("beta", [0.6, 1.0, 2.5])
@pytest.mark.parametrize(
    ("hamiltonian", "axes"),
    [
        (Ringworld(), [np.linspace(-5.0, 5.0, 801)] * 2),
        (DoubleWell(), [np.linspace(-4.0, 4.0, 4001)]),
        (HarmonicChain(2), [np.linspace(-9.0, 9.0, 601)] * 2),
    ],
    ids=["ringworld", "double-well", "harmonic-chain"],
)
def test_exact_free_energies_are_those_of_a_grid(hamiltonian, axes, beta):
    exact = hamiltonian.exact_free_energy(beta)
    assert exact == pytest.approx(grid_free_energy(hamiltonian, beta, axes), abs=2e-4)


@pytest.mark.parametrize("beta", [0.7, 1.0])
def test_the_pair_is_free_in_angle_and_centre(beta):
    """Z of four coordinates by a Monte Carlo sum over all four, within its own error."""
    pair = LennardJonesPair()
    rng = np.random.default_rng(3)
    n, width = 400_000, 1.0 / math.sqrt(beta * pair.trap)
    centre = width / math.sqrt(2.0) * rng.normal(size=(n, 2))
    r = rng.uniform(0.0, 14.0, n)
    angle = rng.uniform(0.0, 2.0 * math.pi, n)
    apart = np.stack([r * np.cos(angle), r * np.sin(angle)], 1)
    q = torch.as_tensor(np.concatenate([centre - apart / 2, centre + apart / 2], 1))
    density = np.exp(-((centre / width) ** 2).sum(1)) / (math.pi * width**2)
    density /= 14.0 * 2.0 * math.pi * r
    weights = np.exp(-beta * pair.potential(q).numpy()) / density
    z, error = weights.mean(), weights.std() / math.sqrt(n)
    exact = math.exp(-pair.exact_free_energy(beta)) / (2.0 * math.pi / beta) ** 2
    assert error < 0.02 * z
    assert abs(z - exact) < 4.0 * error


def test_the_chain_has_the_modes_of_the_formula():
    chain = HarmonicChain(7)
    k = torch.arange(1, 8, dtype=torch.float64)
    torch.testing.assert_close(chain.exact_omega(), 2.0 * torch.sin(math.pi * k / 16.0))
    modes = chain.normal_modes()
    torch.testing.assert_close(modes.T @ modes, torch.eye(7, dtype=torch.float64))
    q = torch.randn(9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_modes = 0.5 * ((chain.exact_omega() * (q @ modes)) ** 2).sum(-1)
    torch.testing.assert_close(chain.potential(q), by_modes)


def test_built_in_ones_pass_their_own_check(built_in):
    check_hamiltonian(built_in)
    assert built_in.kinetic
    q = built_in.guess().repeat(3, 1)
    assert all(found.values.shape == (3,) for found in built_in.descriptors(q).values())


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_scaled_variables_keep_the_density_and_the_volume(built_in, beta):
    reduced = ReducedHamiltonian(built_in, beta)
    generator = torch.Generator().manual_seed(1)
    p, q = torch.randn(2, 6, built_in.dimension, generator=generator, dtype=torch.float64)
    scaled = reduced.energy(p * math.sqrt(beta), q * math.sqrt(beta))
    torch.testing.assert_close(scaled, beta * built_in.energy(p, q))
    # ∫ exp(−βp²/2) dp = volume of the units × ∫ over scaled momenta
    gaussian = 0.5 * built_in.dimension * math.log(2.0 * math.pi)
    assert reduced.log_momentum_volume == pytest.approx(gaussian)


def test_a_model_of_one_temperature_can_be_asked_about_another():
    warm = ReducedHamiltonian(DoubleWell(), beta=0.5, units_beta=2.0)
    p, q = torch.full((1, 1), 0.3, dtype=torch.float64), torch.full((1, 1), 0.7).double()
    expected = 0.5 * DoubleWell().energy(p, q)
    torch.testing.assert_close(warm.energy(p * math.sqrt(2.0), q * math.sqrt(2.0)), expected)
    # ∫ dp exp(−½ · ½ p²) over x = √2 p
    assert warm.log_momentum_volume == pytest.approx(0.5 * math.log(2.0 * math.pi * 4.0))


def test_heat_acts_on_the_potential_alone():
    reduced = ReducedHamiltonian(DoubleWell())
    p, q = torch.tensor([[1.5]]), torch.tensor([[0.2]])
    change = reduced.energy(p, q, heat=10.0) - reduced.energy(p, q)
    torch.testing.assert_close(change, 9.0 * DoubleWell().potential(q))


def test_energies_over_the_cap_grow_as_their_logarithm():
    reduced = ReducedHamiltonian(DoubleWell(), floor=-3.0)
    below, top = -3.0 + ENERGY_CAP - 1.0, -3.0 + ENERGY_CAP
    energy = torch.tensor([below, top + math.e - 1.0, math.inf], dtype=torch.float64)
    capped = reduced.capped(energy)
    assert capped[:2].tolist() == pytest.approx([below, top + 1.0])
    assert torch.isfinite(capped[2])
    assert reduced.over_cap(energy).tolist() == [False, True, True]
    torch.testing.assert_close(ReducedHamiltonian(DoubleWell()).capped(energy), energy)


def test_learning_starts_cold_in_a_minimum_as_narrow_as_its_stiffest_direction():
    start = cold_start(ReducedHamiltonian(Ringworld()))
    assert float(torch.linalg.vector_norm(start.shift)) == pytest.approx(2.0, abs=1e-4)
    assert start.omega.tolist() == pytest.approx([2.5, 2.5], rel=1e-3)  # √(2/0.32)
    assert start.cold == COLD
    assert start.energy == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("size", [0, -3])
def test_a_chain_needs_a_particle(size):
    with pytest.raises(OptionError, match="at least one particle"):
        find_hamiltonian("harmonic-chain", size)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive(beta):
    with pytest.raises(OptionError, match="`beta`"):
        ReducedHamiltonian(DoubleWell(), beta)


BAD = {
    "nan": (Own(lambda q: q.sum(-1) * math.nan), "NaN"),
    "infinite": (Own(lambda q: q.sum(-1) + math.inf), "infinite"),
    "per coordinate": (Own(lambda q: q * q), r"wrong shape \(5, 2\) for 5 phase-space points"),
    "one for all": (Own(lambda q: (q * q).sum()), r"wrong shape \(\)"),
    "numpy": (
        Own(lambda q: (q.detach().numpy() ** 2).sum(-1)),
        "must return a tensor; got ndarray",
    ),
    "no guess": (Own(lambda q: (q * q).sum(-1), guess=torch.zeros(3)), r"shape \(3,\)"),
    "no dimension": (Own(lambda q: (q * q).sum(-1), dimension=0), "dimension"),
    "half a dimension": (Own(lambda q: (q * q).sum(-1), dimension=1.5), "dimension"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_hamiltonian_is_told(name):
    hamiltonian, message = BAD[name]
    with pytest.raises(HamiltonianError, match=message):
        check_hamiltonian(hamiltonian)


def test_an_energy_without_gradient_is_told():
    class Detached(Own):
        def energy(self, p, q):
            return (p * p + q * q).sum(-1).detach()

    with pytest.raises(HamiltonianError, match="cannot differentiate"):
        check_hamiltonian(Detached(None))


@pytest.mark.parametrize("sign", [0.0, -1.0], ids=["flat", "bends down"])
def test_nothing_confines_a_particle(sign):
    with pytest.raises(HamiltonianError, match=r"flat or bends down|no minimum"):
        cold_start(ReducedHamiltonian(Own(lambda q: sign * (q * q).sum(-1))))


def test_ones_own_comes_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from symplectic_cv.hamiltonians.base import Hamiltonian\n"
        "class Mine(Hamiltonian):\n"
        "    name = 'mine'\n"
        "    def __init__(self, size=2):\n        self.dimension = size\n"
        "    def potential(self, q):\n        return (q ** 4).sum(-1)\n"
        "class Broken(Mine):\n    def potential(self, q):\n        return q.missing\n"
        "NOT_ONE = len\n"
    )
    assert find_hamiltonian(f"{file}:Mine", 3).dimension == 3
    for name, message in [
        ("Broken", "its energy fails"),
        ("Absent", "has no class Absent"),
        ("NOT_ONE", "cannot be made|is not a Hamiltonian"),
    ]:
        with pytest.raises(HamiltonianError, match=message):
            find_hamiltonian(f"{file}:{name}")
    with pytest.raises(OptionError, match="name the class"):
        find_hamiltonian(str(file))
    with pytest.raises(HamiltonianError, match="no such file"):
        find_hamiltonian(f"{tmp_path / 'other.py'}:Mine")
    file.write_text("1 / 0\n")
    with pytest.raises(HamiltonianError, match="cannot be imported"):
        find_hamiltonian(f"{file}:Mine")


def test_names_and_sizes_are_checked():
    with pytest.raises(OptionError, match="not built in; there is ringworld"):
        find_hamiltonian("ringwold")
    with pytest.raises(OptionError, match="fixed size"):
        find_hamiltonian("ringworld", 3)
