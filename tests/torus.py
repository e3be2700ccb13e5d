"""Small models of torsions with a density of random weights, for tests of what is exact."""

from __future__ import annotations

from dataclasses import replace

import mdtraj as md
import numpy as np
import torch
from ligands import molecule_of

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.fit import prepare
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.torsion import fit_torsion_modes

SMALL = {"layers": 2, "hidden": 8, "bins": 4, "batch": 32}
"""Options of a small flow."""


def chain_molecule(n_atoms: int) -> Molecule:
    """A chain of carbon atoms."""
    return molecule_of("C" * n_atoms, [(k, k + 1) for k in range(n_atoms - 1)])


def chain_frames(torsions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Chains with these torsions (F, n) in rad and stiff bonds and angles, (F, n + 3, 3) in nm."""
    n = torsions.shape[1] + 3
    rng = np.random.default_rng(seed)
    start = torch.as_tensor(rng.normal(size=(n, 3)))
    molecule = chain_molecule(n)
    wanted = [(k, k + 1, k + 2, k + 3) for k in range(n - 3)]
    table = molecule_z_matrix(molecule, wanted)
    chart = InternalCoordinates(EckartFrame(start, torch.as_tensor(molecule.masses), 300.0), table)
    bonds = 0.153 + 0.004 * rng.normal(size=(len(torsions), n - 1))
    angles = 1.95 + 0.06 * rng.normal(size=(len(torsions), n - 2))
    rows = [
        (int(atom), *references)
        for atom, references in zip(table.atoms, table.references.tolist(), strict=True)
    ]
    order = [min(row[0], row[3]) for row in rows[3:]]
    xi = np.concatenate([bonds, angles, torsions[:, order]], 1)
    return chart.place(torch.from_numpy(xi)).numpy()


def data_of(
    positions: np.ndarray, molecule: Molecule, lengths: list[int] | None = None
) -> TrajectoryData:
    """Frames as a `TrajectoryData`, of one run or of several."""
    parts = np.split(positions, np.cumsum(lengths or [len(positions)])[:-1])
    sets = [
        TrajectoryData.from_mdtraj(md.Trajectory(part.astype(np.float32), molecule.topology), "all")
        for part in parts
    ]
    first = sets[0]
    return TrajectoryData(
        positions=np.concatenate([part.positions for part in sets]),
        lengths=[part.n_frames for part in sets],
        names=["run"] * len(sets),
        molecule=first.molecule,
        links=first.links,
    )


def random_torus(torsions: np.ndarray, perturb, order: int = 2, size: float = 0.25) -> TorsionModel:
    """A model of a chain with these torsions whose flow has random weights, in float64.

    The last coupling, which turns the angles by the oscillators, keeps its start: then the density
    of the angles is known without an integral over all else.
    """
    positions = chain_frames(torsions)
    data = data_of(positions, chain_molecule(positions.shape[1]))
    modes = fit_torsion_modes(data, order=order)
    options = TrainingOptions(chart="torsion", **SMALL)
    density = prepare(data, None, 300.0, options).model
    for layer in list(density.flow.layers)[:-3]:
        perturb(layer, seed=5, size=size)
    return replace(modes.model, density=density.double().eval())
