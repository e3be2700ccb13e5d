"""What an adaptive loop writes down: rounds.csv, the figure of its rounds, report.html."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from symplectic_cv.adaptation.progress import Progress, RoundModel
from symplectic_cv.bias.reweighting import Reweighted
from symplectic_cv.bias.states import FEWEST_FRAMES, States
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.reports.analysis_report import html_figure, html_numbers, html_page, html_table
from symplectic_cv.reports.figures import BLUE, GREY, STYLE, VERMILLION, _figure, _write

ROUNDS = "rounds.csv"
HEADER = (
    "round,frames,time_ns,states_visited,crossings,crossings_per_ns,validation_nll_nats,"
    "slowest_omega_rad_per_ps,modes"
)


def story_of_states(states: States) -> str:
    """How many metastable states there are, and what to do where crossings tell nothing."""
    if states.count == 0:
        return (
            "No metastable state yet: one is a basin along the slowest modes that holds "
            f"{FEWEST_FRAMES} frames of the biased runs or more. A longer --time-ns gives more "
            "frames."
        )
    if states.count == 1:
        return (
            "One metastable state along the slowest modes: there is nothing to cross, so that "
            "crossings cannot tell a good round from a bad one. Look at torsions."
        )
    return f"{states.count} metastable states along the slowest modes"


def write_rounds(folder: Path, progress: Sequence[Progress], models: Sequence[RoundModel]) -> None:
    """Writes rounds.csv and rounds.png; row 0 is the data that the loop began with.

    Args:
        progress: of all sources, judged by the newest model's states.
        models: of rounds 1, 2, …
    """
    lines = [HEADER]
    for row in progress:
        model = models[row.round - 1] if row.round > 0 else None
        of_model = ",,"
        if model is not None:
            slow = " ".join(f"{omega:.4g}" for omega in model.omega[:6])
            modes = " ".join(map(str, model.modes))
            of_model = f"{model.validation_nll:.6g},{slow},{modes}"
        lines.append(
            f"{row.round},{row.frames},{row.time_ns:.6g},{row.states},{row.crossings},"
            f"{row.crossings_per_ns:.6g},{of_model}"
        )
    write_atomically(folder / ROUNDS, ("\n".join(lines) + "\n").encode())
    draw_rounds(folder / "rounds.png", progress, models)


def draw_rounds(path: Path, progress: Sequence[Progress], models: Sequence[RoundModel]) -> None:
    """Crossings per ns of every round, with the length of its run, and its slowest frequencies."""
    with mpl.rc_context(STYLE):
        # a bar is as wide as what is written below it
        figure = _figure(max(8.2, 1.3 * len(progress)), 3.4)
        left, right = figure.subplots(1, 2)
        rounds = [row.round for row in progress]
        heights = [
            0.0 if np.isnan(row.crossings_per_ns) else row.crossings_per_ns for row in progress
        ]
        bars = left.bar(rounds, heights, 0.6, color=[GREY if r == 0 else BLUE for r in rounds])
        left.bar_label(bars, [_rate(row) for row in progress], padding=2)
        left.set_ylim(0.0, 1.15 * max([*heights, 1.0]))
        left.set_xticks(rounds, [_run(row) for row in progress], fontsize=9.0)
        left.set_xlim(min(rounds) - 0.6, max(rounds) + 0.6)
        left.set_xlabel("round, and the length of its run")
        left.set_ylabel("crossings between states (1/ns)")
        right.set_yscale("log")
        for number, model in enumerate(models, 1):
            omega = np.array(model.omega[:10])
            biased = np.isin(np.arange(len(omega)), model.modes)
            x = np.full(len(omega), number)
            right.scatter(x[~biased], omega[~biased], s=22, color=GREY)
            right.scatter(x[biased], omega[biased], s=44, color=VERMILLION)
        right.scatter([], [], s=44, color=VERMILLION, label="biased")
        right.scatter([], [], s=22, color=GREY, label="the next slowest")
        right.legend(loc="upper left", ncols=2, bbox_to_anchor=(0.0, 1.15))
        right.set_xlabel("round")
        right.set_ylabel(r"frequency $\omega_k$ (rad/ps)")
        right.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        right.yaxis.set_minor_formatter(NullFormatter())
        right.set_xlim(0.5, len(models) + 0.5)
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        _write(figure, path)


def _rate(row: Progress) -> str:
    """Crossings per ns, to stand above a bar; their number where the time is unknown."""
    rate = row.crossings_per_ns
    if np.isnan(rate):
        return f"{row.crossings} in all"
    return f"{rate:,.0f}" if rate >= 100.0 else f"{rate:.3g}"


def _run(row: Progress) -> str:
    """Which run a bar is of, and how long it was."""
    name = str(row.round) if row.round else "start"
    return f"{name}\n" + ("unknown" if np.isnan(row.time_ns) else f"{row.time_ns:g} ns")


def write_report(
    folder: Path,
    progress: Sequence[Progress],
    models: Sequence[RoundModel],
    best: int,
    reason: str,
    states: States,
    result: Reweighted,
    pictures: Sequence[tuple[Path, str]],
) -> None:
    """Writes report.html, the last file of a loop.

    Args:
        progress, models: as for `write_rounds`.
        best: the round whose modes the free energy is drawn in.
        reason: why the loop ended.
        states: that the last model sees.
        result: the final free energies.
        pictures: figures to show, with their captions.
    """
    total = sum(row.time_ns for row in progress if row.round > 0)
    newest = progress[-1]
    rounds = html_table(
        [
            "round",
            "frames",
            "time (ns)",
            "states visited",
            "crossings",
            "crossings per ns",
            "slowest ω (rad/ps)",
            "biased modes",
        ],
        [
            [
                str(row.round) if row.round else "start",
                f"{row.frames:,}",
                "unknown" if np.isnan(row.time_ns) else f"{row.time_ns:.3g}",
                str(row.states),
                str(row.crossings),
                "" if np.isnan(row.crossings_per_ns) else f"{row.crossings_per_ns:.1f}",
                ", ".join(f"{omega:.2f}" for omega in models[row.round - 1].omega[:4])
                if row.round
                else "",
                ", ".join(map(str, models[row.round - 1].modes)) if row.round else "",
            ]
            for row in progress
        ],
        "Every source of frames, judged by the states that the last model sees. Modes are numbered "
        "from 0, the slowest, anew in each round.",
    )
    differences = html_table(
        [
            "state",
            "free energy (kJ/mol)",
            "standard error (kJ/mol)",
            "half 95 % interval (kJ/mol)",
            "share of frames",
        ],
        [
            [
                str(k),
                f"{depth:.2f}" if k == 0 else _difference(result, k, 0),
                "" if k == 0 else _difference(result, k, 1),
                "" if k == 0 else _difference(result, k, 2),
                f"{share:.3f}",
            ]
            for k, (depth, share) in enumerate(zip(states.depths, states.shares, strict=True))
        ],
        "States of the last model's modes; free energies of whole basins relative to state 0, by "
        "the exact weights.",
    )
    if states.count < 2:
        differences = f"<p>{html.escape(story_of_states(states))}</p>"
    page = html_page(
        "Adaptive collective variables",
        "<h1>Adaptive collective variables</h1>",
        '<p class="lead">Rounds of training, biasing the slowest modes, and training again on all '
        "that was seen. No torsion entered the loop.</p>",
        html_numbers(
            [
                (f"{len(models)}", "rounds"),
                (f"{total:.3g} ns", "of biased dynamics"),
                (f"{newest.crossings_per_ns:.1f} per ns", "crossings of the last round"),
                (f"{states.count}", "metastable states"),
                (f"{result.combined.effective_frames:,.0f}", "effective frames"),
            ]
        ),
        f"<p>{html.escape(reason)}</p>",
        "<h2>Rounds</h2>",
        rounds,
        html_figure(
            folder / "rounds.png",
            "Left: crossings per ns of each run, with its length below. Right: the slowest "
            "frequencies of each round's model.",
        ),
        "<h2>States</h2>",
        differences,
        "<h2>Free energies</h2>",
        f"<p>All rounds combined by MBAR, each cut into stretches of time; modes are those of "
        f"round {best}. {_thinned(result.combined.strides)}</p>",
        *(html_figure(path, caption) for path, caption in pictures),
    )
    write_atomically(folder / "report.html", page.encode())


def _thinned(strides: Sequence[int]) -> str:
    """Which rounds count less."""
    few = [f"1 in {stride:,} of round {k}" for k, stride in enumerate(strides, 1) if stride > 1]
    if not few:
        return "All their frames count."
    return (
        f"Of their frames {', '.join(few)} counts, the fewer the less a round crosses: its own "
        "share of the states is luck."
    )


def _difference(result: Reweighted, state: int, part: int) -> str:
    found = result.differences.get(f"state {state}")
    if found is None or not np.isfinite(found.error):
        return "unknown"
    return f"{(found.value, found.error, found.interval)[part]:.2f}"
