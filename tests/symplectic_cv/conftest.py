"""A biased run made by hand, for tests of all that reads the folder of one."""

from __future__ import annotations

from collections.abc import Callable

import mdtraj as md
import numpy as np
import pytest
import torch

import symplectic_cv as sc
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import HILLS, hills_header
from symplectic_cv.bias.run import COLVAR, METADYNAMICS, BiasRecord, colvar_header
from symplectic_cv.units import thermal_energy

TEMPERATURE = 300.0
FRAMES = 240


@pytest.fixture(scope="session")
def make_run(make_model, topology, wobble) -> Callable[..., np.ndarray]:
    """make_run(folder, seed, modes): a run whose bias is a slope made of hills far away."""

    def build(folder, seed=0, modes=(0,), n_frames=FRAMES):
        model = make_model()
        positions = wobble(n_frames, seed=seed, size=0.012)
        folder.mkdir(parents=True)
        md.Trajectory(positions.astype(np.float32), topology).save_xtc(folder / "trajectory.xtc")
        md.Trajectory(positions[:1].astype(np.float32), topology).save_pdb(folder / "topology.pdb")
        sc.export(model, modes=list(modes), path=folder / "cv.pt")
        with torch.no_grad():
            values = model.collective_variables(torch.as_tensor(positions), list(modes)).numpy()
        names = [f"mode_{mode}" for mode in modes]
        n = len(modes)
        grid = BiasGrid.for_widths(-8.0, 8.0, [1.0] * n)
        record = BiasRecord(METADYNAMICS, names, grid, [1.0] * n, 100.0, 10.0, TEMPERATURE, 1.0)
        record.write(folder)
        height = 2.0
        near = np.exp(-0.5 * ((values - 1.0) ** 2).sum(1))
        time = np.arange(1.0, n_frames + 1)
        bias = height * near
        table = np.column_stack(
            [time, values, bias, 0 * bias, np.exp(bias / thermal_energy(TEMPERATURE))]
        )
        # one hill before the first frame: the bias stands still, and the weights are exact
        hill = [0.0, *[1.0] * n, *[1.0] * n, height]
        for name, header, rows in (
            (COLVAR, colvar_header(names), table),
            (HILLS, hills_header(names), [hill]),
        ):
            lines = [",".join(header), *(",".join(f"{v:.12g}" for v in row) for row in rows)]
            (folder / name).write_text("\n".join(lines) + "\n")
        return values

    return build
