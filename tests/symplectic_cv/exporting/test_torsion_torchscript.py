"""Torsion modes as TorchScript: values and gradients of the model, in any box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ligands import torsion_model

from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.native_core import Core, load_core
from symplectic_cv.exporting.native_file import core_bytes
from symplectic_cv.exporting.torchscript import load_exported, stored_metadata
from symplectic_cv.exporting.torsion_torchscript import script_torsions

BOX = np.array([[2.2, 0.0, 0.0], [0.7, 2.0, 0.0], [-1.0, 0.9, 1.9]])
MODES = [1, 0]


def chain(seed: int) -> np.ndarray:
    bent = 0.09 * np.array([[k, k % 2, k // 2 % 2] for k in range(6)])
    return bent + 0.02 * np.random.default_rng(seed).normal(size=(6, 3))


@pytest.mark.parametrize("boxed", [False, True])
def test_values_and_gradients_are_those_of_the_core(boxed: bool) -> None:
    model = torsion_model(3)
    module, core = script_torsions(model, MODES), Core(core_bytes(model, MODES))
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, -2.0]])
    box = BOX if boxed else None
    edges = torch.as_tensor(BOX) if boxed else None
    for seed in range(5):
        x = chain(seed)
        if boxed:
            x = x + np.random.default_rng(seed).integers(-2, 3, size=(6, 3)) @ BOX
        values, gradients = module.values_and_gradients(
            torch.as_tensor(x), edges, torch.as_tensor(weights)
        )
        expected, slopes = core.values_and_gradients(x[None], weights, box)
        np.testing.assert_allclose(values.numpy(), expected[0], rtol=0, atol=1e-11)
        size = np.abs(slopes).max()
        np.testing.assert_allclose(gradients.numpy(), slopes[0], rtol=0, atol=1e-11 * size)


def test_autograd_gives_the_same_gradients() -> None:
    module = script_torsions(torsion_model(2), MODES)
    x = torch.as_tensor(chain(1)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(module(x)[0], x)
    _, found = module.values_and_gradients(x.detach(), None, torch.eye(2, dtype=torch.float64))
    assert torch.allclose(gradient, found[0], rtol=0, atol=1e-10)


def test_three_atoms_on_a_line_give_nan() -> None:
    module = script_torsions(torsion_model(2), MODES)
    x = chain(2)
    x[3] = 2.0 * x[2] - x[1]
    assert bool(torch.isnan(module(torch.as_tensor(x))).all())


def test_the_exported_file_carries_its_metadata(tmp_path: Path) -> None:
    model = torsion_model(2)
    metadata = export(model, MODES, tmp_path)
    module, found = load_exported(tmp_path / "cv.pt")
    assert found == metadata == stored_metadata(tmp_path / "cv.pt")
    core = load_core(tmp_path / "cv.safetensors")
    assert found["core_sha256"] == core.metadata["sha256"]
    x = chain(3)
    np.testing.assert_allclose(
        module(torch.as_tensor(x)).numpy(), model.modes(x, MODES)[0], rtol=0, atol=1e-12
    )
