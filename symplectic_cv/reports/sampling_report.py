"""The figure of `sample`: where the samples are, their energies and the weights of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.hamiltonians.base import Descriptor
from symplectic_cv.reports.figures import (
    BLUE,
    GREY,
    STYLE,
    VERMILLION,
    _figure,
    _label,
    _torsion_axes,
    _write,
)
from symplectic_cv.sampling.chains import Samples, SamplingOptions
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.results import coordinates, descriptors, energy_scale, weights
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.statistics import effective_share

MOST_SHOWN = 10.0
"""Of −ln p in a plane of torsions, nats."""


def draw_samples(
    path: Path, target: LatentTarget, samples: Samples, options: SamplingOptions
) -> None:
    """Three panels: two descriptors against one another, energies, and log-weights."""
    found = descriptors(target, samples)
    scale, unit = energy_scale(target)
    w = weights(samples, options.method)
    with mpl.rc_context(STYLE):
        figure = _figure(11.0, 3.6)
        left, middle, right = figure.subplots(1, 3)
        _draw_plane(left, target, samples, found, w)
        energies = scale * samples.energy.reshape(-1)
        inside = np.isfinite(energies) & (w > 0.0)
        low, high = np.percentile(energies[inside], [0.2, 99.8])
        if low == high:  # a single sample
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, 50).tolist()
        label = "samples" if options.method is not Method.IMPORTANCE else "samples, weighted"
        middle.hist(energies[inside], edges, weights=w[inside], density=True, color=BLUE,
                    alpha=0.75, label=label)  # fmt: skip
        middle.set_xlabel(f"energy ({unit})")
        middle.set_ylabel("probability density")
        log_w = samples.proposed_log_weights
        log_w = log_w[np.isfinite(log_w)] - log_w.max()
        # all but the few that have next to no weight
        least = max(-30.0, float(np.percentile(log_w, 0.5)))
        right.hist(log_w[log_w >= least], 50, color=GREY, alpha=0.8)
        share = effective_share(samples.proposed_log_weights)
        right.set_title(f"effective share {100 * share:.1f} %")
        right.set_xlabel(r"$\ln w$ less its maximum (nats)")
        right.set_ylabel("samples of the flow")
        _write(figure, path)


def _draw_plane(
    axes: Axes,
    target: LatentTarget,
    samples: Samples,
    found: Mapping[str, Descriptor],
    w: np.ndarray,
) -> None:
    angles = [name for name, descriptor in found.items() if descriptor.circular]
    if len(angles) >= 2:
        phi, psi = (np.degrees(found[name].values.numpy()) for name in angles[:2])
        edges = np.linspace(-180.0, 180.0, 73).tolist()
        counts = np.histogram2d(phi, psi, [edges, edges], weights=w)[0].T
        shown = np.where(counts > 0.0, -np.log(np.maximum(counts, 1e-300) / counts.max()), np.nan)
        beyond = bool(np.nanmax(shown) > MOST_SHOWN)  # samples of next to no weight
        image = axes.pcolormesh(
            edges, edges, shown, cmap="viridis", vmax=MOST_SHOWN if beyond else None,
            rasterized=True,
        )  # fmt: skip
        label = "−ln p (nats, 0 at the maximum)"
        axes.figure.colorbar(
            image, ax=axes, label=label, pad=0.02, extend="max" if beyond else "neither"
        )
        axes.set_xlabel(f"{_label(angles[0])} (degrees)")
        axes.set_ylabel(f"{_label(angles[1])} (degrees)")
        _torsion_axes(axes)
        return
    q = coordinates(target, samples)
    if q.shape[1] == 1:
        low, high = (float(end) for end in np.percentile(q[:, 0], [0.1, 99.9]))
        edges = np.linspace(low, high, 60).tolist()
        axes.hist(q[:, 0], edges, weights=w, density=True, color=VERMILLION, alpha=0.75)
        axes.set_xlabel("q")
        axes.set_ylabel("probability density")
        return
    u = samples.u.reshape(len(q), -1)
    plane = q if q.shape[1] == 2 else u[:, -target.model.dimension :][:, :2]
    chosen = np.random.default_rng(0).choice(len(q), min(len(q), 5000), p=w / w.sum())
    axes.scatter(plane[chosen, 0], plane[chosen, 1], s=2.5, color=VERMILLION, linewidths=0)
    name = "q" if q.shape[1] == 2 else "mode "
    axes.set_xlabel(f"{name}0" if name != "q" else r"$q_0$")
    axes.set_ylabel(f"{name}1" if name != "q" else r"$q_1$")
