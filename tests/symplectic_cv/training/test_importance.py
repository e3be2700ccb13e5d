"""Learning from energies of frames: the spread of ln w, averages of weights, like hydrogens."""

import types

import numpy as np
import pytest
import torch

from openmm_plugin.energies.hamiltonian import MolecularHamiltonian
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.charts.symmetry import exchange, like_hydrogens
from symplectic_cv.training.average import WeightAverage
from symplectic_cv.training.importance import effective_share_of_target, log_variance


def test_the_spread_vanishes_with_its_gradient_at_the_target():
    """A normal density of mean a against one of mean 0; at a = 0, ln w is the same everywhere."""
    x = torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = log_variance(3.0 - 0.5 * x**2 + 0.5 * (x - a) ** 2)
    (slope,) = torch.autograd.grad(value, a)
    assert float(value.detach()) < 1e-25
    assert abs(float(slope)) < 1e-12
    # ln w = a²/2 − a x: its variance is a² Var x
    away = log_variance(-0.3 * x).item()
    assert away == pytest.approx(0.5 * 0.09 * float(x.var(unbiased=False)), rel=1e-12)


def test_a_strained_structure_does_not_rule_a_batch():
    quiet = torch.linspace(-1.0, 1.0, 99, dtype=torch.float64)
    log_w = torch.cat([quiet, torch.tensor([1e4])]).requires_grad_(True)
    (slope,) = torch.autograd.grad(log_variance(log_w), log_w)
    assert float(slope.abs().max()) <= 5.0 / 100 + 1e-12


def test_samples_of_the_target_foretell_the_effective_share():
    """N(0, 1) by samples of N(0, s²): the share is E[w]²/E[w²] = √(2s² − 1)/s²."""
    s = 1.5
    x = torch.from_numpy(np.random.default_rng(1).normal(size=200_000))
    log_w = -0.5 * x**2 * (1.0 - s**-2)
    exact = np.sqrt(2.0 * s**2 - 1.0) / s**2
    w, v = log_w.exp(), (-log_w).exp()
    error = float(torch.sqrt(w.var() / w.mean() ** 2 + v.var() / v.mean() ** 2)) / len(x) ** 0.5
    assert effective_share_of_target(log_w) == pytest.approx(exact, rel=4.0 * error)


def test_the_average_of_weights_is_its_closed_form():
    model = torch.nn.Linear(2, 1, bias=False).double()
    module = types.SimpleNamespace(model=model)
    average, decay, seen = WeightAverage(0.9), 0.9, []
    average.on_fit_start(None, module)
    for step in range(7):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[float(step), float(step) ** 2]]))
        seen.append(model.weight.detach().clone())
        average.on_train_batch_end(None, module)
    powers = [decay ** (len(seen) - 1 - k) for k in range(len(seen))]
    expected = sum(p * x for p, x in zip(powers, seen, strict=True)) / sum(powers)
    average.on_validation_start(None, module)
    torch.testing.assert_close(model.weight.detach(), expected)
    average.on_validation_end(None, module)
    torch.testing.assert_close(model.weight.detach(), seen[-1])


def test_like_hydrogens_have_like_energies():
    """The dipeptide's three methyl groups; exchanged in another order they would be mirrored."""
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    hamiltonian = MolecularHamiltonian(molecule, 300.0)
    groups = like_hydrogens(hamiltonian.molecule)
    assert [len(group) for (group,) in groups] == [3, 3, 3]
    generator = torch.Generator().manual_seed(0)
    noise = 0.002 * torch.randn(1, 22, 3, generator=generator, dtype=torch.float64)
    x = (hamiltonian.frame.reference + noise).expand(40, 22, 3)
    turned = exchange(x, groups, generator)
    assert len(torch.unique(turned.flatten(1), dim=0)) > 10
    energies = hamiltonian.energy_of(turned)
    torch.testing.assert_close(energies, energies[:1].expand(40), rtol=0.0, atol=1e-6)
