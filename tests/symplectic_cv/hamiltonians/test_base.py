"""The checks of a Hamiltonian: those that pass, and what is wrong with others."""

import math

import pytest
import torch
from hamiltonians_by_hand import Own
from scipy.integrate import quad

from symplectic_cv.errors import HamiltonianError
from symplectic_cv.hamiltonians.base import check_hamiltonian, gaussian_momenta_free_energy


def test_built_in_ones_pass_their_own_check(built_in):
    check_hamiltonian(built_in)
    assert built_in.kinetic
    q = built_in.guess().repeat(3, 1)
    assert all(found.values.shape == (3,) for found in built_in.descriptors(q).values())


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


def test_momenta_have_the_free_energy_of_their_gaussian():
    """−ln ∫ dp exp(−βp²/2) by quadrature, for each of three momenta."""
    for beta in (0.3, 1.0, 5.0):
        one = quad(lambda p, beta=beta: math.exp(-0.5 * beta * p * p), -60.0, 60.0, points=[0.0])[0]
        assert gaussian_momenta_free_energy(3, beta) == pytest.approx(-3.0 * math.log(one))


def test_energies_are_kinetic_unless_a_subclass_says_otherwise():
    class Heavy(Own):
        def energy(self, p, q):
            return (p * p).sum(-1) + self.potential(q)

    assert Own(lambda q: q.sum(-1)).kinetic
    assert not Heavy(lambda q: q.sum(-1)).kinetic
