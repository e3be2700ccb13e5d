"""Figures of a trained model: its frequencies, its modes in the molecule's terms, its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from symplectic_cv.reports.style import (
    BLUE,
    GREY,
    MOST_TORSIONS,
    SKY,
    VERMILLION,
    frames_to_draw,
    in_house_style,
    mode_label,
    one_panel,
    plain_log_axis,
    several_panels,
    span,
    torsion_axes,
    torsion_label,
    without_frame,
)

MOST_RESIDUES = 4
"""Residues that a Ramachandran figure shows at most."""

# the cyclic colour map is nearly white in its middle: a darker ground keeps every point visible
GROUND = "#A9ADB3"


@in_house_style
def plot_frequencies(omega: np.ndarray, n_slow: int = 0, ax: Axes | None = None) -> Axes:
    """The frequencies of all modes on a logarithmic scale; the slowest ones stand out.

    Args:
        omega: The frequencies, slowest first, shape (n,), in rad/ps.
        n_slow: How many of the slowest modes stand out.
        ax: The Axes to draw into; a new Figure is made where None.

    Example:
        >>> plot_frequencies(np.array([1.0, 2.0, 40.0]), 2).get_ylabel()
        'frequency $\\\\omega_k$ (rad/ps)'
    """
    ax = one_panel(ax, 7.2, 3.9)
    modes = np.arange(len(omega))
    ax.set_yscale("log")
    ax.plot(modes, omega, color="#B8B8B8", linewidth=1.0, zorder=1)
    ax.scatter(modes[n_slow:], omega[n_slow:], s=26, color=GREY, label="other modes")
    if n_slow > 0:
        listed = ", ".join(f"{value:.3g}" for value in omega[: min(n_slow, 5)])
        label = f"slow modes: {listed}{', …' if n_slow > 5 else ''} rad/ps"
        ax.scatter(modes[:n_slow], omega[:n_slow], s=58, color=VERMILLION, zorder=3, label=label)
        ax.legend(loc="lower right")
    ax.set_xlabel("mode number k (0 is the slowest)")
    ax.set_ylabel(r"frequency $\omega_k$ (rad/ps)")
    ax.set_ylim(omega.min() / 1.8, omega.max() * 1.8)
    ax.set_xlim(-0.7, len(omega) - 0.3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=13))
    period = ax.secondary_yaxis("right", functions=(_reciprocal, _reciprocal))
    period.set_ylabel(r"period $2\pi/\omega_k$ (ps)")
    plain_log_axis(ax.yaxis)
    plain_log_axis(period.yaxis)
    return ax


@in_house_style
def plot_mutual_information(
    information: np.ndarray, names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Mutual information of each mode and each torsion, as a map with the numbers in it.

    Args:
        information: The mutual information, shape (n_modes, n_torsions), in nats.
        names: The names of the torsions.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    n_modes, n_torsions = information.shape
    ax = one_panel(ax, max(4.8, 0.62 * n_modes + 2.2), 1.5 + 0.45 * n_torsions)
    ax.grid(False)
    top = max(float(information.max()), 1e-3)
    image = ax.imshow(information.T, cmap="cividis", vmin=0.0, vmax=top, aspect="auto")
    for mode in range(n_modes):
        for torsion in range(n_torsions):
            value = information[mode, torsion]
            colour = "black" if value > 0.55 * top else "white"
            text = f"{value:.2f}"
            ax.text(mode, torsion, text, ha="center", va="center", color=colour, fontsize=8.5)
    ax.set_xticks(range(n_modes))
    ax.set_yticks(range(n_torsions), [torsion_label(name) for name in names])
    ax.set_xlabel("mode number k (0 is the slowest)")
    without_frame(ax)
    label = "mutual\ninformation (nats)"
    ax.figure.colorbar(
        image, ax=ax, label=label, pad=0.02, ticks=MaxNLocator(4, steps=[1, 2, 5, 10])
    )
    return ax


@in_house_style
def plot_latent_plane(
    modes: np.ndarray,
    angles: np.ndarray | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
    axes: Sequence[Axes] | np.ndarray | None = None,
    labels: Sequence[str] = (mode_label(0), mode_label(1)),
) -> np.ndarray:
    """Frames in the plane of modes 0 and 1, one panel for each torsion that colours them.

    Args:
        modes: The modes of the frames, shape (n_frames, n_modes) with at least two modes,
            dimensionless.
        angles: The torsions of the frames, shape (n_frames, n_torsions), in radians.
        names: The names of the torsions. The first six are drawn; without any, one plain panel is.
        seed: The seed by which frames are chosen where there are too many to draw.
        axes: The Axes to draw into, one for each torsion; a new Figure is made where None.
        labels: The labels of modes 0 and 1.

    Returns:
        The Axes, one for each torsion.
    """
    drawn = frames_to_draw(len(modes), seed)
    n_panels = max(1, min(len(names), MOST_TORSIONS))
    columns = min(n_panels, 3) if n_panels != 4 else 2
    rows = -(-n_panels // columns)
    if axes is None:
        size = (3.6 * columns + 0.9, 3.5 * rows)
        grid = several_panels(None, rows, columns, *size, sharex=True, sharey=True)
        for unused in grid.flat[n_panels:]:
            unused.set_visible(False)
    else:
        grid = several_panels(axes, 1, n_panels, 0.0, 0.0)
    points = None
    panels = grid.ravel()[:n_panels]
    for place, ax in enumerate(panels):
        if names and angles is not None:
            ax.set_facecolor(GROUND)
            ax.grid(False)
            points = ax.scatter(
                *modes[drawn, :2].T,
                c=np.degrees(angles[drawn, place]),
                cmap="twilight",
                vmin=-180.0,
                vmax=180.0,
                s=2.5,
                linewidths=0,
            )
            ax.set_title(f"coloured by {torsion_label(names[place])}")
        else:
            ax.scatter(*modes[drawn, :2].T, s=2.5, color=BLUE, alpha=0.4, linewidths=0)
        ax.set_xlim(span(modes[:, 0]))
        ax.set_ylim(span(modes[:, 1]))
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
        ax.label_outer()
    if points is not None:
        bar = panels[0].figure.colorbar(points, ax=grid, label="torsion (degrees)", pad=0.02)
        bar.set_ticks(list(range(-180, 181, 60)))
    return panels


@in_house_style
def plot_ramachandran(
    modes: np.ndarray,
    planes: Sequence[tuple[str, np.ndarray, np.ndarray]],
    seed: int = 0,
    axes: Sequence[Axes] | np.ndarray | None = None,
    labels: Sequence[str] = (mode_label(0), mode_label(1)),
) -> np.ndarray:
    """Frames in the plane of phi and psi, coloured by modes 0 and 1.

    Args:
        modes: The modes of the frames, shape (n_frames, n_modes), dimensionless.
        planes: For each residue its name, which may be empty, and the angles phi and psi of the
            frames, each of shape (n_frames,), in radians. The first four residues are drawn.
        seed: The seed by which frames are chosen where there are too many to draw.
        axes: The Axes to draw into, residue by residue; a new Figure is made where None.
        labels: The labels of modes 0 and 1.

    Returns:
        The Axes, shape (n_residues, 2), or (n_residues, 1) for a model of one mode.
    """
    drawn = frames_to_draw(len(modes), seed)
    planes = planes[:MOST_RESIDUES]
    shown = range(min(2, modes.shape[1]))
    size = (4.7 * len(shown), 3.7 * len(planes))
    grid = several_panels(axes, len(planes), len(shown), *size)
    for row, (residue, phi, psi) in zip(grid, planes, strict=True):
        for mode, ax in zip(shown, row, strict=True):
            low, high = np.percentile(modes[:, mode], [1.0, 99.0])
            points = ax.scatter(
                np.degrees(phi[drawn]),
                np.degrees(psi[drawn]),
                c=modes[drawn, mode],
                cmap="viridis",
                vmin=low,
                vmax=high,
                s=2.5,
                linewidths=0,
            )
            torsion_axes(ax)
            ax.set_xlabel(f"φ {residue}".strip() + " (degrees)")
            ax.set_ylabel(f"ψ {residue}".strip() + " (degrees)")
            ax.set_title(f"coloured by mode {mode}")
            ax.figure.colorbar(points, ax=ax, label=labels[mode], extend="both", pad=0.02)
    return grid


@in_house_style
def plot_training(
    history: Mapping[str, np.ndarray], start: float | None = None, ax: Axes | None = None
) -> Axes:
    """The loss over the training.

    Args:
        history: The columns `step`, `train_nll` and `validation_nll`, in nats per frame.
        start: The validation NLL of the quasi-harmonic start in nats per frame, where known.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    ax = one_panel(ax, 7.2, 3.6)
    ax.plot(history["step"], history["train_nll"], color=SKY, label="training")
    ax.plot(history["step"], history["validation_nll"], color=BLUE, label="validation")
    if start is not None:
        ax.axhline(
            start, color=VERMILLION, linestyle="--", linewidth=1.3, label="quasi-harmonic start"
        )
    ax.set_xlabel("optimizer step")
    ax.set_ylabel("NLL of phase space\n(nats per frame)")
    ax.margins(x=0.02, y=0.1)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return ax


def _reciprocal(value: ArrayLike) -> ArrayLike:
    """ω in rad/ps to the period in ps and back; Matplotlib also asks for 0."""
    return 2 * np.pi / np.maximum(np.asarray(value, dtype=np.float64), 1e-12)
