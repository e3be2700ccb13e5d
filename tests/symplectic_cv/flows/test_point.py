"""The quasi-harmonic start of a point transformation."""

import pytest
import torch

from symplectic_cv.errors import FrameError
from symplectic_cv.flows.point import quasi_harmonic_start


def _rotation(n):
    generator = torch.Generator().manual_seed(n)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q


def _spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def _correlated(n_frames=500, n=6, seed=6):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_frames, n, generator=generator, dtype=torch.float64)
    return noise * _spread(n) @ _rotation(n) + 0.3


def test_the_quasi_harmonic_start_diagonalises_the_covariance_slowest_first():
    q = _correlated()
    modes, spread = quasi_harmonic_start(q)
    latent, _ = modes(q)
    assert latent.mean(0).abs().max() < 1e-12
    covariance = latent.T @ latent / len(q)
    torch.testing.assert_close(covariance, torch.diag(spread**2), rtol=0.0, atol=1e-12)
    assert (spread[:-1] >= spread[1:]).all()
    identity = torch.eye(6, dtype=torch.float64)
    assert (modes.rotation.T @ modes.rotation - identity).abs().max() < 1e-12


def test_weights_of_the_quasi_harmonic_start_count_frames():
    q = _correlated()
    times = torch.arange(len(q)) % 4
    repeated, spread_repeated = quasi_harmonic_start(q.repeat_interleave(times, 0))
    weighted, spread = quasi_harmonic_start(q, times)
    torch.testing.assert_close(spread, spread_repeated, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(weighted.shift, repeated.shift, rtol=1e-12, atol=1e-14)
    overlap = (weighted.rotation.T @ repeated.rotation).abs()  # eigenvectors have no sign
    assert (overlap - torch.eye(6, dtype=torch.float64)).abs().max() < 1e-9


def test_frames_that_determine_no_gaussian_are_refused():
    q = _correlated()
    with pytest.raises(FrameError, match="the same structure"):
        quasi_harmonic_start(q[:1].expand(50, -1))
    with pytest.raises(FrameError, match="6 training frames cannot determine 6"):
        quasi_harmonic_start(q[:6])
    flat = q @ torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    with pytest.raises(FrameError, match="2 of 6 internal coordinates have zero variance"):
        quasi_harmonic_start(flat)
