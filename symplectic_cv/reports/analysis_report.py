"""Writes an analysis down: CSV files, latent frames, figures and one HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symplectic_cv.analysis.latent import SLOW_AMONG, Analysis, slow_modes
from symplectic_cv.analysis.mutual_information import FRAMES, NEIGHBOURS
from symplectic_cv.charts.eckart import HEALTH_WARNING
from symplectic_cv.data.torsions import backbone_pairs
from symplectic_cv.errors import ModelError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.models.model_folder import HISTORY, read_config
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.reports import model_figures
from symplectic_cv.reports.figures import MOST_POINTS

MODES_SHOWN = 10
"""Modes in the figures and tables of the page; the CSV files hold all."""

PAGE_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; color: #1d2530;
       max-width: 62rem; margin: 2.5rem auto 4rem; padding: 0 1.25rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: 1rem; border-top: 1px solid #d9dee5; }
p, li { max-width: 46rem; }
.lead { color: #55606e; margin-top: 0; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0; }
.numbers div { background: #f3f6f9; border-radius: .5rem; padding: .7rem 1rem; min-width: 9rem; }
.numbers b { display: block; font-size: 1.3rem; }
.numbers span { color: #55606e; font-size: .85rem; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption, caption { color: #55606e; font-size: .9rem; text-align: left; max-width: 46rem; }
caption { padding-bottom: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem; text-align: right; border-bottom: 1px solid #e4e8ed; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #b9c2cd; font-weight: 600; }
.warning { background: #fff4e0; border-left: 4px solid #e69f00; padding: .6rem 1rem; }
code { background: #f3f6f9; padding: .1rem .3rem; border-radius: .25rem; }
"""


def html_page(title: str, *parts: str) -> str:
    """A standalone page of HTML parts; the title is escaped here, the parts are not."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{PAGE_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of plain texts, which are escaped."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def html_figure(png: Path, caption: str) -> str:
    """A PNG file embedded in the page, with its caption (plain text)."""
    content = base64.b64encode(png.read_bytes()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def html_numbers(numbers: Sequence[tuple[str, str]]) -> str:
    """Key numbers side by side: (value with unit, what it is)."""
    cards = "".join(
        f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
        for value, name in numbers
    )
    return f'<div class="numbers">{cards}</div>'


def read_history(model_folder: Path) -> dict[str, np.ndarray] | None:
    """Columns of a model folder's history.csv; None where there is none.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(model_folder) / HISTORY
    if not path.is_file():
        return None
    try:
        table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
        columns = {name: table[name] for name in ("step", "train_nll", "validation_nll")}
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ModelError(
            f"{path}: truncated or altered ({error}); remove it to analyse without it"
        ) from error
    return columns


def write_analysis(
    folder: Path, analysis: Analysis, model: NeuralCanonicalTransformation, model_folder: Path
) -> None:
    """Writes modes.csv, mutual_information.csv, latent.npz, the figures and report.html.

    The page comes last, so a folder with one is complete.

    Args:
        folder: made where missing.
        model_folder: where `model` was read from; its training record is reported.

    Raises:
        ModelError: the model's own record is damaged.
        OutputError: the folder cannot be made.
    """
    training = read_config(model_folder).get("training") or {}
    history = read_history(model_folder)
    make_folder(folder)
    _write_tables(folder, analysis)
    pictures = _draw(folder, analysis, history, training.get("gaussian_start_nll_nats"))
    page = _page(analysis, model, Path(model_folder), training, pictures)
    write_atomically(folder / "report.html", page.encode())


def _write_tables(folder: Path, analysis: Analysis) -> None:
    names = [torsion.name for torsion in analysis.torsions]
    rows = [
        f"{mode},{omega:.8g},{2 * np.pi / omega:.8g},{spread:.8g}"
        for mode, (omega, spread) in enumerate(zip(analysis.omega, analysis.spread, strict=True))
    ]
    _write_lines(folder / "modes.csv", ["mode,omega_rad_per_ps,period_ps,std_scaled", *rows])
    if names:
        lines = [",".join(["mode", *names])]
        for mode, values in enumerate(analysis.mutual_information):
            lines.append(",".join([str(mode), *(f"{value:.6g}" for value in values)]))
        _write_lines(folder / "mutual_information.csv", lines)
    lengths = analysis.lengths
    content = io.BytesIO()
    np.savez_compressed(
        content,
        modes=analysis.frames.modes,
        omega_rad_per_ps=analysis.omega,
        torsions=analysis.angles.astype(np.float32),
        torsion_names=np.array(names, dtype=np.str_),
        log_likelihood=analysis.frames.log_likelihood,
        run=np.repeat(np.arange(len(lengths)), lengths),
        frame=np.concatenate([np.arange(length) for length in lengths]),
        run_names=np.array(analysis.names, dtype=np.str_),
    )
    write_atomically(folder / "latent.npz", content.getvalue())


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _draw(
    folder: Path,
    analysis: Analysis,
    history: dict[str, np.ndarray] | None,
    gaussian_start: float | None,
) -> dict[str, Path]:
    """Draws what there is to draw; the paths by what they show."""
    modes, angles = analysis.frames.modes, analysis.angles
    names = [torsion.name for torsion in analysis.torsions]
    pictures = {"spectrum": folder / "frequencies.png"}
    model_figures.frequency_spectrum(
        pictures["spectrum"], analysis.omega, slow_modes(analysis.omega)
    )
    if names:
        pictures["information"] = folder / "mutual_information.png"
        shown = analysis.mutual_information[:MODES_SHOWN]
        model_figures.information_map(pictures["information"], shown, names)
    if modes.shape[1] >= 2:
        pictures["plane"] = folder / "latent_plane.png"
        model_figures.latent_plane(pictures["plane"], modes, angles, names)
    planes = [
        (analysis.torsions[phi].residue, angles[:, phi], angles[:, psi])
        for phi, psi in backbone_pairs(analysis.torsions)
    ]
    if planes:
        pictures["ramachandran"] = folder / "ramachandran.png"
        model_figures.ramachandran(pictures["ramachandran"], modes, planes)
    if history is not None:
        pictures["training"] = folder / "training.png"
        model_figures.training_history(pictures["training"], history, gaussian_start)
    return pictures


def _page(
    analysis: Analysis,
    model: NeuralCanonicalTransformation,
    model_folder: Path,
    training: dict[str, Any],
    pictures: dict[str, Path],
) -> str:
    n_slow = slow_modes(analysis.omega)
    validation = training.get("validation_nll_nats")
    numbers = [
        (f"{analysis.n_frames:,}", f"frames from {len(analysis.names)} run(s)"),
        (f"{model.dimension}", f"modes of {model.molecule.n_atoms} atoms"),
        (f"{model.temperature:g} K", "temperature of the model"),
        (f"{analysis.omega[0]:.3g} rad/ps", f"slowest mode, period {_period(analysis.omega[0])}"),
    ]
    if validation is not None:
        numbers.append((f"{validation:.2f} nats", "validation NLL of phase space, per frame"))
    runs = ", ".join(
        f"{name} ({n:,})" for name, n in zip(analysis.names, analysis.lengths, strict=True)
    )
    return html_page(
        f"Collective variables of {model_folder.name}",
        "<h1>Collective variables of a neural canonical transformation</h1>",
        f'<p class="lead">Model <code>{html.escape(str(model_folder))}</code>, seen on the frames '
        f"of {html.escape(runs)}.</p>",
        html_numbers(numbers),
        _frequencies(analysis, n_slow, pictures),
        _information(analysis, pictures),
        _planes(pictures),
        _quality(analysis, training, pictures),
        "<h2>Sources</h2><p>S.-H. Li, C.-X. Dong, L. Zhang and L. Wang, Phys. Rev. X 10, 021020 "
        "(2020); A. Kraskov, H. Stögbauer and P. Grassberger, Phys. Rev. E 69, 066138 (2004). "
        "Units: nm, ps, K, rad/ps, nats; scaled modes ω<sub>k</sub>Q<sub>k</sub> have no "
        "dimension.</p>",
    )


def _frequencies(analysis: Analysis, n_slow: int, pictures: dict[str, Path]) -> str:
    rows = [
        [str(mode), f"{omega:.4g}", f"{2 * np.pi / omega:.4g}", f"{spread:.3f}"]
        for mode, (omega, spread) in enumerate(
            zip(analysis.omega[:MODES_SHOWN], analysis.spread, strict=False)
        )
    ]
    return "\n".join(
        [
            "<h2>Frequencies</h2>",
            _paragraph(
                "Each mode is a harmonic oscillator of the latent space. The slowest ones are "
                "the candidates for collective variables; a spread near 1 says that these frames "
                "vary as much along a mode as the training frames did."
            ),
            html_figure(
                pictures["spectrum"],
                f"Frequencies of all modes. The {n_slow} slowest, below the widest gap on the log "
                f"scale among the first {SLOW_AMONG}, stand out.",
            ),
            html_table(
                ["mode", "ω (rad/ps)", "period (ps)", "std of ωQ"],
                rows,
                f"The slowest {len(rows)} modes; all of them are in modes.csv.",
            ),
        ]
    )


def _information(analysis: Analysis, pictures: dict[str, Path]) -> str:
    if "information" not in pictures:
        return (
            "<h2>Mutual information</h2><p>The model's atoms hold no backbone torsion, so there is "
            "none to compare with; name others with <code>--torsions NAME=i,j,k,l</code>.</p>"
        )
    shown = analysis.mutual_information[:MODES_SHOWN]
    return "\n".join(
        [
            "<h2>Mutual information with torsions</h2>",
            _paragraph(
                "How much a mode tells of a torsion, in nats: 0 where they are independent. "
                f"Estimated from {NEIGHBOURS} nearest neighbours on "
                f"{min(FRAMES, analysis.n_frames):,} frames, each angle cut at its least populated "
                "value."
            ),
            html_figure(pictures["information"], "Mutual information of the slowest modes."),
            html_table(
                ["mode", *(f"{torsion.name} (nats)" for torsion in analysis.torsions)],
                [[str(k), *(f"{value:.3f}" for value in row)] for k, row in enumerate(shown)],
                "The same in numbers; all modes are in mutual_information.csv.",
            ),
        ]
    )


def _planes(pictures: dict[str, Path]) -> str:
    parts = ["<h2>The slowest modes</h2>"]
    if "plane" in pictures:
        parts.append(
            html_figure(
                pictures["plane"],
                "Frames in the plane of the two slowest modes (at most "
                f"{MOST_POINTS:,} drawn at random). A torsion that a mode follows "
                "changes colour along its axis.",
            )
        )
    if "ramachandran" in pictures:
        parts.append(
            html_figure(
                pictures["ramachandran"],
                "The same frames in the Ramachandran plane; colours span the 1st to the 99th "
                "percentile of each mode.",
            )
        )
    return "\n".join(parts) if len(parts) > 1 else ""


def _quality(analysis: Analysis, training: dict[str, Any], pictures: dict[str, Path]) -> str:
    health = analysis.frames.health
    likelihood = analysis.frames.log_likelihood
    rows = [
        ["smallest det A over its median, these frames", f"{health.smallest:.3f}"],
        ["mean ln ρ(q) of these frames (nats, q in ps)", f"{likelihood.mean():.2f}"],
        ["least ln ρ(q) of these frames (nats, q in ps)", f"{likelihood.min():.2f}"],
    ]
    for key, name, digits in (
        ("validation_nll_nats", "validation NLL of phase space (nats per frame)", 2),
        ("gaussian_start_nll_nats", "the same of the quasi-harmonic start (nats per frame)", 2),
        ("frame_health", "smallest det A over its median, training frames", 3),
        ("frames", "frames of the training data", 0),
    ):
        if training.get(key) is not None:
            rows.append([name, f"{training[key]:,.{digits}f}"])
    parts = [
        "<h2>Quality of the model</h2>",
        _paragraph(
            "det A measures how well the molecular frame is defined: near 0 a frame has no "
            f"unique superposition and the modes bend sharply; below {HEALTH_WARNING} of its "
            "median, choose fewer or stiffer atoms."
        ),
        html_table(["quantity", "value"], rows, "Frame and likelihood."),
    ]
    warnings = list(training.get("warnings") or [])
    if health.near_limit:
        warnings.append(
            f"These frames near the limit of the molecular frame: smallest det A is "
            f"{health.smallest:.3f} of its median (frame {health.frame})."
        )
    parts += [f'<p class="warning">{html.escape(str(warning))}</p>' for warning in warnings]
    if "training" in pictures:
        parts.append(
            html_figure(
                pictures["training"],
                "Negative log-likelihood of phase space during the training; validation frames "
                "are whole blocks that the training never saw.",
            )
        )
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _period(omega: float) -> str:
    return f"{2 * np.pi / omega:.3g} ps"
