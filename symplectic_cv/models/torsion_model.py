"""Slow modes as functions of torsions: values, slopes, steepness, and a description for files.

A mode is χ_k = Σ_i Σ_m [a_kim cos(m n_i s_i) + b_kim sin(m n_i s_i)] − constant over the torsions
s_i of rotatable bonds with folds n_i. It is smooth on the circle and bounded, so that it can be
biased on a finite grid by forces that every simulation engine has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from symplectic_cv.charts.rotatable_bonds import RotatableBond
from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.charts.torsion_metric import torsion_angles, velocity_metric
from symplectic_cv.errors import ModelError
from symplectic_cv.models.modes import Frames, MolecularModes, listed, locator
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.training_range import KEY as RANGE
from symplectic_cv.models.training_range import NO_RANGE, TorsionRange, warn_of_unknown
from symplectic_cv.models.with_density import WithDensity
from symplectic_cv.molecule import Molecule

CHUNK = 8192
CARRIED = 0.1
"""The smallest share of a mode for which a torsion is named."""
END_POINTS = 720
"""Values of a torsion among which the ends of a mode are looked for."""


@dataclass(frozen=True)
class TorsionModel(WithDensity, MolecularModes):
    """Modes of least frequency in the torsions of a molecule.

    Attributes:
        molecule: The modelled atoms.
        temperature: The temperature of the data, in K.
        bonds: The rotatable bonds whose torsions the modes are functions of.
        order: The highest harmonic of a torsion, 1 to 3.
        coefficients: Shape (n_modes, n_bonds, order, 2): of the cosine and the sine of each
            harmonic; the slowest mode is the first.
        constant: The number subtracted from each mode so that its mean is zero, shape (n_modes,).
        omega: Frequencies in rad/ps, shape (n_modes,).
        omega_error: Standard errors of the frequencies in rad/ps; NaN where unknown.
        omega_held_out: Frequencies on held-out frames in rad/ps; NaN where unknown.
        steepness: The largest slope |∇χ| of each mode over its root mean square in the training
            frames, shape (n_modes,), both in the metric of the torsions' velocities.
        training_range: The torsions of the training frames; None where the model has no record of
            them.
        density: The canonical transformation in the torsion chart, where it was trained. Its
            latent modes are pendulums and oscillators; they are not the modes of this model, which
            are functions of the torsions.
    """

    molecule: Molecule
    temperature: float
    bonds: tuple[RotatableBond, ...]
    order: int
    coefficients: np.ndarray
    constant: np.ndarray
    omega: np.ndarray
    omega_error: np.ndarray
    omega_held_out: np.ndarray
    steepness: np.ndarray
    training_range: TorsionRange | None = None
    density: NeuralCanonicalTransformation | None = None

    @property
    def handedness(self) -> dict[int, int]:
        """The handedness, −1 or 1, of atoms of the training frames, by their index."""
        return {} if self.training_range is None else self.training_range.handedness

    @property
    def dimension(self) -> int:
        """The number of modes."""
        return len(self.omega)

    @property
    def folds(self) -> list[int]:
        """The fold n_i of each bond."""
        return [bond.fold for bond in self.bonds]

    @property
    def bound(self) -> np.ndarray:
        """The largest |χ_k + constant_k| that any conformation can have, shape (n_modes,)."""
        return np.hypot(self.coefficients[..., 0], self.coefficients[..., 1]).sum((1, 2))

    def ends(self, which: Sequence[int] | int | None = None) -> list[tuple[float, float]]:
        """The lowest and the highest value that each mode can have in any conformation.

        A mode is a sum of one function per torsion, so its ends are sums of their ends.

        Args:
            which: The modes; all of them where None.

        Raises:
            OptionError: A mode does not exist.
        """
        numbers = listed(which)
        chosen = list(range(self.dimension)) if numbers is None else self.check_modes(numbers)
        phase = 2.0 * np.pi * np.arange(END_POINTS) / END_POINTS
        features, _ = torsion_features(phase[:, None], [1], self.order)
        parts = np.einsum(
            "pa,kia->kip",
            features,
            self.coefficients[chosen].reshape(len(chosen), len(self.bonds), -1),
        )
        # between two points a part can exceed both by half its largest curvature times (π/points)²
        curvature = np.hypot(self.coefficients[..., 0], self.coefficients[..., 1])[chosen] @ (
            np.arange(1, self.order + 1) ** 2
        )
        margin = 0.5 * curvature.sum(1) * (np.pi / END_POINTS) ** 2
        low = parts.min(-1).sum(-1) - self.constant[chosen] - margin
        high = parts.max(-1).sum(-1) - self.constant[chosen] + margin
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def torsions(self, data: Frames) -> np.ndarray:
        """The torsions of frames in rad, shape (n_frames, n_bonds).

        Args:
            data: Frames from `read_trajectories` or MDTraj, or whole positions of the modelled
                atoms, shape (n_frames, n_atoms, 3), in nm.

        Raises:
            OptionError, SelectionError, FrameError: The frames are not of this molecule.
        """
        return torsion_angles(self.positions_of(data), self.bonds)

    def torsions_of(self, positions: np.ndarray) -> np.ndarray:
        """The torsions of whole positions, without a check, shape (n_frames, n_bonds), in rad.

        Args:
            positions: Positions of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        """
        return torsion_angles(positions, self.bonds)

    def modes(self, data: Frames, which: Sequence[int] | int | None = None) -> np.ndarray:
        """Values of the modes, dimensionless, shape (n_frames, n_modes), in float64.

        Args:
            data: Frames from `read_trajectories` or MDTraj, or whole positions of the modelled
                atoms, shape (n_frames, n_atoms, 3), in nm.
            which: The modes to evaluate; all of them where None.

        Raises:
            OptionError: A mode does not exist, or the positions have another shape.
            SelectionError, FrameError: The frames are not of this molecule.

        Warns:
            DataWarning: The model does not know some of the frames; see `extrapolation`.
        """
        angles = self.torsions(data)
        values = self.modes_of_torsions(angles, listed(which))
        if self.training_range is not None:
            warn_of_unknown(self.training_range.extrapolation(angles), locator(data))
        return values

    def extrapolation(self, data: Frames) -> np.ndarray:
        """The distance of the torsions of frames beyond those of the training frames, (F,).

        It is 0 where a training frame had each torsion in the same bin of 10°, and grows by 1 with
        each 15° between the farthest torsion and the nearest such bin. Above 2 the model does not
        know the frame.

        Args:
            data: Frames, as `modes` takes them.

        Raises:
            ModelError: The model has no record of its training frames.
            OptionError, SelectionError, FrameError: The frames are not of this molecule.
        """
        if self.training_range is None:
            raise ModelError(NO_RANGE)
        return self.training_range.extrapolation(self.torsions(data))

    def modes_of_torsions(
        self, angles: np.ndarray, which: Sequence[int] | None = None
    ) -> np.ndarray:
        """Values of the modes at given torsions, shape (n_frames, n_modes).

        Args:
            angles: Torsions in rad, shape (n_frames, n_bonds).
            which: The modes to evaluate; all of them where None.
        """
        chosen = list(range(self.dimension)) if which is None else self.check_modes(which)
        features, _ = torsion_features(angles, self.folds, self.order)
        return features @ self._rows(chosen).T - self.constant[chosen]

    def slopes(self, angles: np.ndarray) -> np.ndarray:
        """∂χ_k/∂s_i at given torsions, in 1/rad, shape (n_frames, n_modes, n_bonds).

        Args:
            angles: Torsions in rad, shape (n_frames, n_bonds).
        """
        _, slopes = torsion_features(angles, self.folds, self.order)
        by_bond = slopes.reshape(len(angles), len(self.bonds), -1)
        weights = self.coefficients.reshape(self.dimension, len(self.bonds), -1)
        return np.einsum("fia,kia->fki", by_bond, weights)

    def relative_slope(self, data: Frames) -> np.ndarray:
        """|∇χ_k| of frames over its root mean square in the training frames, (n_frames, n_modes).

        The slope is taken in the metric of the torsions' velocities, in which its root mean square
        is ω_k.

        Args:
            data: Frames from `read_trajectories` or MDTraj, or whole positions of the modelled
                atoms, shape (n_frames, n_atoms, 3), in nm.
        """
        x = self.positions_of(data)
        parts = []
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK]
            slopes = self.slopes(torsion_angles(part, self.bonds))
            metric = velocity_metric(part, self.bonds, self.molecule, self.temperature)
            square = np.einsum("fki,fij,fkj->fk", slopes, metric, slopes)
            parts.append(np.sqrt(np.maximum(square, 0.0)) / self.omega)
        return np.concatenate(parts)

    def shares(self) -> np.ndarray:
        """The share of each torsion in each mode, shape (n_modes, n_bonds), rows of sum 1.

        The share is that of the squared coefficients, as for independent uniform torsions.
        """
        square = (self.coefficients**2).sum((2, 3))
        return np.asarray(square / square.sum(1, keepdims=True))

    def carried(self, mode: int, least: float = CARRIED) -> list[tuple[str, float]]:
        """The three torsions with the largest shares in a mode, as their names and shares.

        Args:
            mode: The mode.
            least: The smallest share that counts.
        """
        share = self.shares()[mode]
        best = [int(k) for k in np.argsort(-share)[:3] if share[k] > least]
        return [(self.bonds[k].name, float(share[k])) for k in best]

    def to_json(self) -> dict[str, Any]:
        """A description of the modes that JSON can hold."""
        known = {} if self.training_range is None else {RANGE: self.training_range.to_json()}
        return {
            "temperature_k": self.temperature,
            "order": self.order,
            "bonds": [asdict(bond) | {"atoms": list(bond.atoms)} for bond in self.bonds],
            "coefficients": self.coefficients.tolist(),
            "constant": self.constant.tolist(),
            "omega_rad_per_ps": self.omega.tolist(),
            "omega_error_rad_per_ps": _with_none(self.omega_error),
            "omega_held_out_rad_per_ps": _with_none(self.omega_held_out),
            "steepness": self.steepness.tolist(),
            "molecule": self.molecule.to_json(),
            **known,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TorsionModel:
        """The model of a description.

        Raises:
            ModelError: The description is incomplete or contradicts itself.
        """
        try:
            bonds = tuple(
                RotatableBond(**(bond | {"atoms": tuple(int(k) for k in bond["atoms"])}))
                for bond in data["bonds"]
            )
            molecule = Molecule.from_json(data["molecule"])
            order = int(data["order"])
            omega = np.array(data["omega_rad_per_ps"], dtype=np.float64)
            model = cls(
                molecule=molecule,
                temperature=float(data["temperature_k"]),
                bonds=bonds,
                order=order,
                coefficients=np.array(data["coefficients"], dtype=np.float64),
                constant=np.array(data["constant"], dtype=np.float64),
                omega=omega,
                omega_error=np.array(data["omega_error_rad_per_ps"], dtype=np.float64),
                omega_held_out=np.array(data["omega_held_out_rad_per_ps"], dtype=np.float64),
                steepness=np.array(data["steepness"], dtype=np.float64),
                training_range=TorsionRange.from_json(data[RANGE]) if RANGE in data else None,
            )
            if model.coefficients.shape != (len(omega), len(bonds), order, 2):
                raise ValueError(f"coefficients of shape {model.coefficients.shape}")
            known = model.training_range
            if known is not None and len(known.visited) != len(bonds):
                raise ValueError("a record of the training frames of other torsions")
            if model.constant.shape != omega.shape or not np.isfinite(model.coefficients).all():
                raise ValueError("modes that do not fit their frequencies")
            atoms = {atom for bond in bonds for atom in bond.atoms}
            if not atoms <= set(range(molecule.n_atoms)):
                raise ValueError("torsions of atoms that the molecule does not have")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the description of the torsion modes is damaged: {error}") from error
        return model

    def _rows(self, chosen: Sequence[int]) -> np.ndarray:
        return self.coefficients[list(chosen)].reshape(len(chosen), -1)


def _with_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
