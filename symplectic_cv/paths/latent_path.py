"""A path of structures in the latent space, its torsions, and its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import mdtraj as md
import numpy as np
import torch
from torch import Tensor

from symplectic_cv.data.structures import undefined_torsions
from symplectic_cv.data.torsions import Torsion, compute_torsions, find_torsions
from symplectic_cv.errors import FrameError
from symplectic_cv.files.atomic import replaced_whole
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.tables import write_table
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.molecule import Molecule

STRUCTURES, TABLE = "path.pdb", "path.csv"


@dataclass(frozen=True)
class LatentPath:
    """P structures along a way through the latent space.

    Attributes:
        latent: Scaled latent coordinates u_k = ω_k Q_k, dimensionless, shape (P, n).
        positions: Structures superposed on the model's reference, shape (P, n_atoms, 3), in nm.
        log_likelihood: ln ρ(q) of the model in nats (q in ps), shape (P,); it is not finite where
            a latent point is no structure.
        molecule: The modelled atoms.
        modes: The modes of torsions along the way, dimensionless, shape (P, n_modes), of a model of
            the torsion chart; None where the latent coordinates are the modes.
    """

    latent: np.ndarray = field(repr=False)
    positions: np.ndarray = field(repr=False)
    log_likelihood: np.ndarray
    molecule: Molecule = field(repr=False)
    modes: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.latent)

    @cached_property
    def torsions(self) -> list[Torsion]:
        """The backbone torsions of the molecule."""
        return find_torsions(self.molecule)

    @cached_property
    def angles(self) -> np.ndarray:
        """The torsions along the path, shape (P, T), in radians; NaN where one is undefined."""
        angles = compute_torsions(self.positions, self.torsions, self.molecule)
        angles[undefined_torsions(self.positions, self.torsions)] = np.nan
        return angles

    def check(self) -> LatentPath:
        """The path itself, if all its points are structures with defined torsions.

        Raises:
            FrameError: A latent point is no structure, or a torsion has three atoms on a line.
        """
        lost = np.flatnonzero(~np.isfinite(self.log_likelihood))
        if len(lost):
            raise FrameError(
                f"point {lost[0]} of the path is no structure: a bond, an angle or a torsion goes "
                "beyond what the model knows; take ends nearer to one another, a smaller `reach`, "
                "or a model with `chart` cartesian"
            )
        undefined = np.argwhere(np.isnan(self.angles))
        if len(undefined):
            point, which = undefined[0]
            raise FrameError(
                f"point {point} of the path: three atoms of {self.torsions[which].name} lie on a "
                "line, so that the torsion is undefined: the path leaves what the model knows; "
                "take ends nearer to one another, or `refine`"
            )
        return self

    def save(self, folder: str | Path) -> None:
        """Writes path.pdb, a model per point, and path.csv.

        The table has the columns point, log_likelihood_nats, mode_0, mode_1, … (dimensionless) and
        a torsion in degrees per column, such as phi_deg. In the torsion chart the latent
        coordinates are columns of their own, latent_0, latent_1, ….

        Args:
            folder: The folder to write into; it is made where missing.
        """
        folder = Path(folder)
        make_folder(folder)
        write_structures(
            folder / STRUCTURES,
            md.Trajectory(self.positions.astype(np.float32), self.molecule.topology),
        )
        degrees = np.degrees(self.angles)
        columns: dict[str, np.ndarray] = {
            "point": np.arange(len(self)),
            "log_likelihood_nats": self.log_likelihood,
        }
        columns |= mode_columns(self.latent, self.modes)
        names = [torsion.name for torsion in self.torsions]
        columns |= {f"{name}_deg": column for name, column in zip(names, degrees.T, strict=True)}
        write_table(folder / TABLE, columns)


def mode_columns(latent: np.ndarray, modes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Columns of a table: the modes, and the latent coordinates where those are others.

    Args:
        latent: Scaled latent coordinates, shape (P, n).
        modes: The modes of torsions, shape (P, n_modes); None where the latent ones are the modes.
    """
    if modes is None:
        return {f"mode_{mode}": column for mode, column in enumerate(latent.T)}
    columns = {f"mode_{mode}": column for mode, column in enumerate(modes.T)}
    return columns | {f"latent_{k}": column for k, column in enumerate(latent.T)}


def write_structures(path: Path, structures: md.Trajectory) -> None:
    """Writes structures whole or not at all; the ending of the name sets the format.

    Args:
        path: The file to write, such as path.pdb.
        structures: The structures, each a frame.
    """
    with replaced_whole(path) as aside:
        structures.save(str(aside))


def latent_structures(model: NeuralCanonicalTransformation, scaled: Tensor) -> LatentPath:
    """Structures and likelihoods of latent points, computed in float64.

    Args:
        model: The model.
        scaled: Scaled latent coordinates u = ωQ, shape (P, n).
    """
    exact = in_float64(model)
    with torch.no_grad():
        latent = exact.prior.from_normal(scaled)
        q, log_det = exact.flow.inverse(latent)
        log_likelihood = exact.prior.log_prob_coordinates(latent) - log_det
        return LatentPath(
            latent=scaled.numpy(),
            positions=exact.frame.positions(q).numpy(),
            log_likelihood=log_likelihood.numpy(),
            molecule=model.molecule,
        )
