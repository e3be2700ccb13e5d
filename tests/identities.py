"""Identities that every exact transformation fulfils."""

import torch
from torch.autograd.functional import jacobian

from symplectic_cv.flows.canonical import symplectic_defect


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
