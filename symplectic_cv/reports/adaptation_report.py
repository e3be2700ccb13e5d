"""The report of an adaptive loop: the figure of its rounds and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import RoundModel
from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.bias.states import States, describe_states
from symplectic_cv.reports.adaptation_figures import plot_rounds
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.reweighting_report import draw_reweighted
from symplectic_cv.reports.style import save_figure

ROUNDS_FIGURE = "rounds.png"
PROFILES = (
    "Along each mode and torsion, with a band of two standard errors to either side. Gaps and "
    "missing bands mean too few frames."
)
PLANE = "In a plane of two of them; blank where no frame came."


def draw_rounds(
    folder: str | Path, progress: Sequence[RoundProgress], models: Sequence[RoundModel]
) -> Path:
    """Draws rounds.png into the folder of a loop; its path.

    Args:
        folder: The folder of the loop.
        progress: What each round brought; round 0 is the data that the loop began with.
        models: The models of rounds 1, 2, …
    """
    path = Path(folder) / ROUNDS_FIGURE
    save_figure(plot_rounds(progress, models), path)
    return path


def write_adaptation_report(
    folder: str | Path,
    progress: Sequence[RoundProgress],
    models: Sequence[RoundModel],
    best: int,
    reason: str,
    states: States,
    result: Reweighted,
) -> Path:
    """Draws the rounds and the final free energies, and writes report.html, the last file.

    Args:
        folder: The folder of the loop; the figures of the free energies go into its folder
            free_energy, which exists.
        progress: What each round brought, judged by the newest model's states.
        models: The models of rounds 1, 2, …
        best: The round whose modes the free energies are drawn in.
        reason: Why the loop ended.
        states: The states that the last model sees.
        result: The final free energies.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    profiles, *planes = draw_reweighted(folder / "free_energy", result)
    write_page(
        folder / REPORT,
        "adaptation.html",
        title="Adaptive collective variables",
        key_numbers=_key_numbers(progress, states, result),
        reason=reason,
        round_rows=[_round_row(row, models) for row in progress],
        rounds_picture=draw_rounds(folder, progress, models),
        state_rows=[_state_row(result, states, k) for k in range(states.count)],
        states_story=describe_states(states),
        best=best,
        thinning=_thinning(result.combined.strides),
        pictures=[(profiles, PROFILES), *((plane, PLANE) for plane in sorted(planes))],
    )
    return folder / REPORT


def _key_numbers(
    progress: Sequence[RoundProgress], states: States, result: Reweighted
) -> list[tuple[str, str]]:
    rounds = [row for row in progress if row.round > 0]
    total = sum(row.time_ns for row in rounds)
    return [
        (f"{len(rounds)}", "rounds"),
        (f"{total:.3g} ns", "of biased dynamics"),
        (f"{progress[-1].crossings_per_ns:.1f} per ns", "crossings of the last round"),
        (f"{states.count}", "metastable states"),
        (f"{result.combined.effective_frames:,.0f}", "effective frames"),
    ]


def _round_row(row: RoundProgress, models: Sequence[RoundModel]) -> list[str]:
    model = models[row.round - 1] if row.round else None
    return [
        str(row.round) if row.round else "start",
        f"{row.frames:,}",
        "unknown" if np.isnan(row.time_ns) else f"{row.time_ns:.3g}",
        str(row.states),
        str(row.crossings),
        "" if np.isnan(row.crossings_per_ns) else f"{row.crossings_per_ns:.1f}",
        ", ".join(f"{omega:.2f}" for omega in model.omega[:4]) if model else "",
        ", ".join(map(str, model.modes)) if model else "",
    ]


def _state_row(result: Reweighted, states: States, state: int) -> list[str]:
    share = f"{states.shares[state]:.3f}"
    if state == 0:
        return ["0", f"{states.depths[0]:.2f}", "", "", share]
    found = result.differences.get(f"state {state}")
    if found is None or not np.isfinite(found.error):
        return [str(state), "unknown", "unknown", "unknown", share]
    numbers = (found.value, found.error, found.interval)
    return [str(state), *(f"{number:.2f}" for number in numbers), share]


def _thinning(strides: Sequence[int]) -> str:
    """A sentence on the rounds that count less, with the reason."""
    thinned = [f"1 in {stride:,} of round {k}" for k, stride in enumerate(strides, 1) if stride > 1]
    if not thinned:
        return "All their frames count."
    return (
        f"Rounds that rarely cross are thinned in proportion to their crossing rate; of their "
        f"frames {', '.join(thinned)} counts. MBAR would otherwise trust the basin that they "
        "happened to be in."
    )
