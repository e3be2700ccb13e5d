"""The von Mises law of a pendulum's angle, and its exact map to a standard normal number.

A pendulum with the potential κ(1 − cos θ) has the density

    f(θ) = exp(−κ(1 − cos θ)) / (2π I₀(κ) e^(−κ)),        −π ≤ θ < π.

The map θ → u keeps probabilities, F(θ) = Φ(u). Uniform angles (κ = 0) become N(0, 1); for large κ
it is u = √κ θ. It jumps where the circle is cut, at ±π; the density of the angle does not.

Source: K. V. Mardia and P. E. Jupp, Directional Statistics (2000), section 3.5.4.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)
NODES = 64
"""Nodes of the quadrature of a tail."""
REACH = 45.0
"""A tail is cut where its density has fallen by this many nats."""
CLOSE = 1e-14
"""Newton's steps end where they change no angle by more than this part of its spread."""
STEPS = 60
"""Newton steps at most; a handful suffice, except beside the cut."""
LAST = math.pi - 1e-15
"""The largest angle on this side of the cut."""
SMALLEST, LARGEST = 1e-3, 1e6
"""The range of concentrations that are estimated from angles."""


def log_von_mises(theta: Tensor, kappa: Tensor) -> Tensor:
    """ln f(θ) of angles (..., k) in rad with concentrations κ (k,), one value per angle.

    Example:
        >>> round(float(log_von_mises(torch.zeros(1), torch.zeros(1)).exp() * 2.0 * math.pi), 6)
        1.0
    """
    half = torch.sin(0.5 * theta)
    return -2.0 * kappa * half * half - LOG_2PI - torch.special.i0e(kappa).log()


def angles_to_normal(theta: Tensor, kappa: Tensor) -> Tensor:
    """u with F(θ) = Φ(u), float64, of angles (..., k) in [−π, π] with concentrations κ (k,).

    Its derivative by θ is that of the map, f(θ)/φ(u).
    """
    angle, kappa = theta.to(torch.float64), kappa.detach().to(torch.float64)
    with torch.no_grad():
        # a tail that ends at the cut itself would be empty
        u = _quantile(_log_tail(angle.abs().clamp(max=LAST), kappa)).copysign(angle)
        slope = (log_von_mises(angle, kappa) - _log_normal(u)).exp()
    return u + slope * (angle - angle.detach())


def normal_to_angles(u: Tensor, kappa: Tensor) -> Tensor:
    """θ in [−π, π] with F(θ) = Φ(u), float64, of numbers u (..., k): undoes `angles_to_normal`.

    Its derivative by u is that of the map, φ(u)/f(θ).
    """
    wide, kappa = u.to(torch.float64), kappa.detach().to(torch.float64)
    with torch.no_grad():
        log_tail = torch.special.log_ndtr(-wide.abs())
        theta = _angle_of_tail(log_tail, kappa).copysign(wide)
        slope = (_log_normal(wide) - log_von_mises(theta, kappa)).exp()
        slope = slope.nan_to_num(0.0, 0.0, 0.0)
    return theta + slope * (wide - wide.detach())


def concentration(mean_cosine: Tensor) -> Tensor:
    """κ (k,) of the greatest likelihood where ⟨cos θ⟩ is known: I₁(κ)/I₀(κ) = ⟨cos θ⟩.

    Args:
        mean_cosine: ⟨cos θ⟩, shape (k,), float64; κ is close to 0 where it is negative.

    Example:
        >>> concentration(torch.tensor([0.6977746579640079], dtype=torch.float64))
        tensor([2.0000], dtype=torch.float64)
    """
    low = torch.full_like(mean_cosine, math.log(SMALLEST))
    high = torch.full_like(mean_cosine, math.log(LARGEST))
    for _ in range(100):
        middle = 0.5 * (low + high)
        kappa = middle.exp()
        above = torch.special.i1e(kappa) / torch.special.i0e(kappa) > mean_cosine
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (0.5 * (low + high)).exp()


def _log_normal(u: Tensor) -> Tensor:
    return -0.5 * u * u - 0.5 * LOG_2PI


def _log_tail(theta: Tensor, kappa: Tensor) -> Tensor:
    """ln ∫_θ^π f of angles in [0, π], to rounding however small it is."""
    drop = theta.cos() - REACH / kappa.clamp(min=1e-300)
    end = torch.where(drop > -1.0, torch.arccos(drop.clamp(min=-1.0)), math.pi)
    width = (end - theta).clamp(min=0.0)
    nodes, shares = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(NODES))
    x = 0.5 * (nodes + 1.0) * width.unsqueeze(-1)
    # cos(θ + x) − cos θ without cancellation
    fall = -2.0 * torch.sin(theta.unsqueeze(-1) + 0.5 * x) * torch.sin(0.5 * x)
    integral = 0.5 * (shares * (kappa.unsqueeze(-1) * fall).exp()).sum(-1)
    return log_von_mises(theta, kappa) + (integral * width).log()


def _quantile(log_tail: Tensor) -> Tensor:
    """u ≥ 0 with Φ(−u) = exp(log_tail), for log_tail ≤ ln ½."""
    log_tail = log_tail.clamp(max=-math.log(2.0))
    far = log_tail < -600.0
    u = torch.where(
        far,
        (-2.0 * log_tail).sqrt(),
        -torch.special.ndtri(torch.where(far, 0.5, log_tail.exp())),
    )
    for _ in range(4):
        reached = torch.special.log_ndtr(-u)
        u = u + (reached - log_tail) * (reached - _log_normal(u)).exp()
    return torch.where(torch.isinf(log_tail), math.inf, u.clamp(min=0.0))


def _angle_of_tail(log_tail: Tensor, kappa: Tensor) -> Tensor:
    """θ in [0, π] with ∫_θ^π f = exp(log_tail): Newton's steps, halved where they leave bounds."""
    kappa = kappa.expand(log_tail.shape)
    low, high = torch.zeros_like(log_tail), torch.full_like(log_tail, math.pi)
    theta = math.pi * (1.0 - 2.0 * log_tail.exp())
    spread = (1.0 + kappa).rsqrt()
    narrow = 2.0 * torch.arcsin((0.5 * _quantile(log_tail) / kappa.sqrt()).clamp(max=1.0))
    theta = torch.minimum(theta, narrow).clamp(0.0, 0.999 * math.pi)
    for _ in range(STEPS):
        reached = _log_tail(theta, kappa)
        beyond = reached < log_tail
        low, high = torch.where(beyond, low, theta), torch.where(beyond, theta, high)
        step = (reached - log_tail) * (reached - log_von_mises(theta, kappa)).exp()
        new = theta + step
        new = torch.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        done = (new - theta).abs() <= CLOSE * spread
        theta = new
        if bool(done.all()):
            break
    return theta
