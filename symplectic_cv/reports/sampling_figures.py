"""The figure of a sampling: where the samples are, their energies and the weights of the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.hamiltonians.base import Descriptor
from symplectic_cv.reports.style import (
    BLUE,
    GREY,
    VERMILLION,
    in_house_style,
    several_panels,
    torsion_axes,
    torsion_label,
)
from symplectic_cv.sampling.chains import SampledChains, SamplingOptions
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.results import coordinates, descriptors, energy_scale, weights
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.statistics import effective_share

MOST_SHOWN = 10.0
"""Values of −ln p above this have one colour in a plane of torsions, nats."""
LEAST_LOG_WEIGHT = -30.0
MOST_SCATTERED = 5000
MANY = 1000
"""Samples from which on the outermost ones may lie outside a histogram."""


@in_house_style
def plot_samples(
    target: LatentTarget,
    samples: SampledChains,
    options: SamplingOptions,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Three panels: two descriptors against one another, energies, and log-weights.

    Args:
        target: The density that was sampled.
        samples: The samples of it.
        options: How they were drawn.
        axes: The three Axes to draw into; a new Figure is made where None.

    Returns:
        The three Axes.
    """
    found = descriptors(target, samples)
    scale, unit = energy_scale(target)
    w = weights(samples, options.method)
    left, middle, right = several_panels(axes, 1, 3, 11.6, 3.6)[0]
    _draw_plane(left, target, samples, found, w)
    energies = scale * samples.energy.reshape(-1)
    inside = np.isfinite(energies) & (w > 0.0)
    edges = _edges(energies[inside], 0.2, 50)
    middle.hist(energies[inside], edges, weights=w[inside], density=True, color=BLUE, alpha=0.75)
    if options.method is Method.IMPORTANCE:
        middle.set_title("samples, weighted")
    middle.set_xlabel(f"energy ({unit})")
    middle.set_ylabel("probability density")
    log_w = samples.proposed_log_weights
    log_w = log_w[np.isfinite(log_w)] - log_w.max()
    # samples of negligible weight would stretch the axes
    least = max(LEAST_LOG_WEIGHT, float(np.percentile(log_w, 0.5)))
    right.hist(log_w[log_w >= least], 50, color=GREY, alpha=0.8)
    share = effective_share(samples.proposed_log_weights)
    right.set_title(f"effective share {100 * share:.1f} %")
    right.set_xlabel(r"$\ln w$ less its maximum (nats)")
    right.set_ylabel("samples of the flow")
    return np.array([left, middle, right])


def _draw_plane(
    ax: Axes,
    target: LatentTarget,
    samples: SampledChains,
    found: Mapping[str, Descriptor],
    w: np.ndarray,
) -> None:
    angles = [name for name, descriptor in found.items() if descriptor.circular]
    if len(angles) >= 2:
        phi, psi = (np.degrees(found[name].values.numpy()) for name in angles[:2])
        _draw_torsions(ax, phi, psi, w)
        ax.set_xlabel(f"{torsion_label(angles[0])} (degrees)")
        ax.set_ylabel(f"{torsion_label(angles[1])} (degrees)")
        return
    q = coordinates(target, samples)
    if q.shape[1] == 1:
        edges = _edges(q[:, 0], 0.1, 60)
        ax.hist(q[:, 0], edges, weights=w, density=True, color=VERMILLION, alpha=0.75)
        ax.set_xlabel("q (reduced units)")
        ax.set_ylabel("probability density")
        return
    u = samples.u.reshape(len(q), -1)
    plane = q if q.shape[1] == 2 else u[:, -target.model.dimension :][:, :2]
    generator = np.random.default_rng(0)
    chosen = generator.choice(len(q), min(len(q), MOST_SCATTERED), p=w / w.sum())
    ax.scatter(plane[chosen, 0], plane[chosen, 1], s=2.5, color=VERMILLION, linewidths=0)
    two = q.shape[1] == 2
    ax.set_xlabel(r"$q_0$" if two else "mode 0 (dimensionless)")
    ax.set_ylabel(r"$q_1$" if two else "mode 1 (dimensionless)")


def _edges(values: np.ndarray, outside: float, count: int) -> list[float]:
    """Edges of bins that leave out this percentage of many values on each side."""
    outside = outside if len(values) >= MANY else 0.0
    low, high = np.percentile(values, [outside, 100.0 - outside])
    if low == high:  # a single sample
        low, high = low - 0.5, high + 0.5
    edges: list[float] = np.linspace(low, high, count).tolist()
    return edges


def _draw_torsions(ax: Axes, phi: np.ndarray, psi: np.ndarray, w: np.ndarray) -> None:
    """−ln p in the plane of two torsions in degrees."""
    edges = np.linspace(-180.0, 180.0, 73).tolist()
    counts = np.histogram2d(phi, psi, [edges, edges], weights=w)[0].T
    shown = np.where(counts > 0.0, -np.log(np.maximum(counts, 1e-300) / counts.max()), np.nan)
    beyond = bool(np.nanmax(shown) > MOST_SHOWN)  # samples of next to no weight
    top = MOST_SHOWN if beyond else None
    image = ax.pcolormesh(edges, edges, shown, cmap="viridis", vmax=top, rasterized=True)
    extend = "max" if beyond else "neither"
    label = "−ln p (nats, 0 at the maximum)"
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, extend=extend)
    torsion_axes(ax)
