"""Held-out ω of modes of torsions of orders 1 to 3, for several amounts of data.

Modes are fitted on pieces of a trajectory, evenly spaced in it, and their ω is measured on all
frames at least a piece away from theirs. Printed are means over pieces, with standard errors.

    python benchmarks/torsion_order.py TRAJ --top PDB --frames 500 2000 8000
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import symplectic_cv as sc
from symplectic_cv.charts.torsion_metric import velocity_metric

PIECES = 6
MODES = 2


def omega_on(model: sc.TorsionModel, data: sc.TrajectoryData, rows: np.ndarray) -> np.ndarray:
    """ω of the slowest modes on some frames, in rad/ps."""
    x = data.positions[rows]
    angles = model.torsions_of(x)
    slopes = model.slopes(angles)[:, :MODES]
    metric = velocity_metric(x, model.bonds, model.molecule, model.temperature)
    kinetic = np.einsum("fki,fij,fkj->k", slopes, metric, slopes) / len(x)
    # about the constant of the training frames, as the mode is used
    square = (model.modes_of_torsions(angles, range(MODES)) ** 2).mean(0)
    return np.sqrt(kinetic / square)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trajectory")
    parser.add_argument("--top")
    parser.add_argument("--frames", type=int, nargs="+", required=True)
    given = parser.parse_args()
    data = sc.read_trajectories(given.trajectory, given.top)
    for n in given.frames:
        starts = np.linspace(0, data.n_frames - n, PIECES).astype(int)
        found = {order: [] for order in (1, 2, 3)}
        for start in starts:
            piece = slice(start, start + n)
            train = replace(data, positions=data.positions[piece], lengths=[n], times_ps=None)
            frames = np.arange(data.n_frames)
            test = frames[(frames < start - n) | (frames >= start + 2 * n)][::5]
            for order, values in found.items():
                try:
                    model = sc.fit_torsion_modes(train, order=order).model
                except sc.UserError:  # too few frames for so many functions
                    continue
                values.append(omega_on(model, data, test))
        for order, values in found.items():
            mean = np.mean(values, 0)
            error = np.std(values, 0, ddof=1) / np.sqrt(len(values))
            listed = "  ".join(f"{m:6.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True))
            print(f"{n:6d} frames, order {order}: {listed} rad/ps", flush=True)


if __name__ == "__main__":
    main()
