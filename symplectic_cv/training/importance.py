"""The loss that compares a flow with the energies of frames: the spread of importance weights.

A flow of density ρ fits its target π where the weight w = π/ρ is the same everywhere. For
structures x of any origin, half the variance of ln w(x) is least, zero, at ρ = π alone (on
what those structures cover), and needs no more than ln π at each of them: no force, no
sample of the flow. Its gradient is that of a Kullback–Leibler divergence where the
structures are the flow's own, and has no noise left at the optimum.

Source: L. Richter, A. Boustati, N. Nüsken, F. J. R. Ruiz, Ö. D. Akyildiz, VarGrad: A
Low-Variance Gradient Estimator for Variational Inference, NeurIPS 2020, arXiv:2010.10436.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LIMIT = 5.0
"""Deviations of ln w (nats) beyond this count as their distance, not as its square: otherwise
a single strained structure would dominate a batch."""


def log_variance(log_weights: Tensor, limit: float = LIMIT) -> Tensor:
    """Half the variance of ln w over a batch (B,), nats²; far-off values count less.

    Example:
        >>> float(log_variance(torch.tensor([3.0, 5.0, 4.0, 4.0])))
        0.25
        >>> float(log_variance(torch.tensor([4.0, 4.0, 4.0])))
        0.0
    """
    # the mean of the inner ones: where the gradient by a constant vanishes
    deviations = log_weights.detach() - log_weights.detach().median()
    centre = log_weights.detach().median() + deviations.clamp(-limit, limit).mean()
    return torch.nn.functional.huber_loss(log_weights, centre.expand_as(log_weights), delta=limit)


def effective_share_of_target(log_weights: Tensor, shares: Tensor | None = None) -> float:
    """The effective share of a flow's samples, predicted from ln w of samples of the target.

    (Σw)²/(N Σw²) over samples of ρ tends to E_ρ[w]²/E_ρ[w²] = 1/(E_π[w] E_π[1/w]), and the
    latter averages need samples of π alone.

    Args:
        log_weights: ln w of the frames up to a constant, shape (F,), in nats.
        shares: The weights of the frames, shape (F,), or None.

    Example:
        >>> effective_share_of_target(torch.zeros(3))
        1.0
    """
    w = log_weights.double()
    share = torch.ones_like(w) if shares is None else shares.double()
    share = (share / share.sum()).log()
    return math.exp(-float(torch.logsumexp(w + share, 0) + torch.logsumexp(share - w, 0)))
