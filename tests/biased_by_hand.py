"""Hills, records and tables of biased runs, made by hand."""

import numpy as np

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import Hills, hills_header
from symplectic_cv.bias.run import BiasRecord, colvar_header

KT = 8.31446261815324e-3 * 300.0


def hills_by_hand(n, count=7, seed=0):
    rng = np.random.default_rng(seed)
    return Hills(
        np.arange(1.0, count + 1),
        rng.normal(size=(count, n)),
        rng.uniform(0.3, 0.6, size=(count, n)),
        rng.uniform(0.5, 2.0, size=count),
    )


def write_hills(path, hills, names=None):
    names = names or [f"mode_{k}" for k in range(hills.n_modes)]
    rows = np.column_stack([hills.time_ps, hills.centres, hills.widths, hills.heights])
    lines = [",".join(hills_header(names))]
    lines += [",".join(f"{number:.12g}" for number in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def record_by_hand(n=2, method="metadynamics"):
    return BiasRecord(
        method=method,
        modes=[f"mode_{k}" for k in range(n)],
        grid=BiasGrid.for_widths(-3.0, 3.0, [0.4] * n),
        widths=[0.4] * n,
        wall=50.0,
        bias_factor=8.0,
        temperature=300.0,
        pace_ps=1.0,
        settings={"height": 1.0},
    )


def write_colvar(path, modes, bias, offset):
    names = [f"mode_{k}" for k in range(modes.shape[1])]
    weight = np.exp((bias - offset) / KT)
    time = np.arange(1.0, len(modes) + 1)
    lines = [",".join(colvar_header(names))]
    for row in np.column_stack([time, modes, bias, offset, weight]):
        lines.append(",".join(f"{number:.8g}" for number in row))
    path.write_text("\n".join(lines) + "\n")
