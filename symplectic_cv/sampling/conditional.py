"""Structures at given values of some modes: from collective variables back to structures.

The latent density is a product, so that with some scaled modes u_k = ω_k Q_k held the others
stay independent standard normal: no search is needed. A mode of torsions is no latent coordinate;
its structures are samples of a level set (`symplectic_cv.sampling.torsion_levels`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.checks import check_whole, choose
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.trajectories import TrajectoryFormat
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.latent_draws import draw_latent_structures
from symplectic_cv.models.model_folder import open_molecular_model
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.models.torsion_folder import open_modes
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.paths.latent_path import LatentPath, latent_structures
from symplectic_cv.sampling.results import write_conditional, write_summary
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.sampling.torsion_levels import latent_on_level
from symplectic_cv.statistics import effective_share

FARTHEST = 8.0
"""No mode is held further out than this, in standard deviations."""

_FIXED = re.compile(r"\s*mode[\s_]*(\d+)\s*=\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


def parse_fixed(given: Sequence[str], model: MolecularModes) -> dict[int, float]:
    """Modes and their dimensionless values from texts such as `mode 0 = 1.2`.

    Raises:
        OptionError: Another form, a mode that does not exist or is named twice, or a value
            where the model knows nothing.
    """
    fixed: dict[int, float] = {}
    for text in given:
        match = _FIXED.fullmatch(text)
        try:
            assert match is not None
            mode, value = int(match[1]), float(match[2])
        except (AssertionError, ValueError):
            raise OptionError(
                f"`fix` {text!r} is not of the form 'mode 0 = 1.2' (a mode and its value, in "
                "standard deviations)"
            ) from None
        if mode in fixed:
            raise OptionError(f"`fix` names mode {mode} twice")
        fixed[mode] = value
    check_fixed(model, fixed)
    return fixed


def check_fixed(model: MolecularModes, fixed: Mapping[int, float]) -> None:
    """Raises OptionError for a mode that does not exist, or a value where the model knows nothing.

    Args:
        model: The model.
        fixed: The modes that are held, and their values in standard deviations.
    """
    for mode, value in fixed.items():
        model.check_modes([mode], "fix")
        if not abs(value) <= FARTHEST:
            raise OptionError(
                f"`fix` mode {mode} = {value:g}: modes have unit variance, so that a model knows "
                f"nothing beyond ±{FARTHEST:g}"
            )
    if isinstance(model, TorsionModel) and len(fixed) > 1:
        raise OptionError("`fix`: one mode of torsions can be held at a time")


def conditional_latent(
    model: NeuralCanonicalTransformation | TorsionModel,
    fixed: Mapping[int, float],
    n_samples: int,
    seed: int,
) -> Tensor:
    """u (n_samples, n) of structures at values of some modes.

    Latent points of no structure (an angle over π, a torsion beyond its cut) are drawn again.

    Raises:
        SamplingError: Next to no point with these values is a structure.
    """
    if isinstance(model, TorsionModel):
        if not fixed:
            return draw_latent_structures(in_float64(model.require_density()), n_samples, seed)
        ((mode, value),) = fixed.items()
        return latent_on_level(model, mode, value, n_samples, seed)
    return draw_latent_structures(in_float64(model), n_samples, seed, fixed)


@dataclass(frozen=True)
class ConditionalStructures:
    """Structures at given values of some modes.

    Attributes:
        model: The model.
        fixed: The modes that are held, and their values in standard deviations.
        latent: Scaled latent coordinates u_k = ω_k Q_k, dimensionless, shape (n, n_modes).
        target: The Hamiltonian that weighs the structures, or None.
        torsions: The modes of torsions of which one is held, with `model` as their density; None
            where the modes are those of `model`.
    """

    model: NeuralCanonicalTransformation
    fixed: dict[int, float]
    latent: np.ndarray
    target: LatentTarget | None = None
    torsions: TorsionModel | None = None

    @cached_property
    def structures(self) -> LatentPath:
        """The structures with their likelihoods."""
        found = latent_structures(self.model, torch.from_numpy(self.latent))
        if self.torsions is None:
            return found
        return replace(found, modes=self.torsions.modes(found.positions))

    @property
    def positions(self) -> np.ndarray:
        """Structures in the frame of the model, shape (n, n_atoms, 3), in nm."""
        return self.structures.positions

    @property
    def log_likelihood(self) -> np.ndarray:
        """ln ρ of the model, shape (n,), in nats."""
        return self.structures.log_likelihood

    def save(
        self, folder: str | Path, kind: TrajectoryFormat | str = TrajectoryFormat.DCD
    ) -> float | None:
        """Writes samples.dcd (or samples.xtc), topology.pdb, samples.csv and summary.json.

        Args:
            folder: The folder to write into; it is made where missing.
            kind: The format of the structures: "dcd", which keeps single precision, or "xtc",
                which rounds to 0.001 nm.

        Returns:
            The effective share of the structures under the Hamiltonian, or None without one.
        """
        folder = Path(folder)
        chosen = choose(TrajectoryFormat, kind, "kind")
        make_folder(folder)
        log_weight = write_conditional(folder, self.model, self.structures, self.target, chosen)
        share = None if log_weight is None else effective_share(log_weight)
        write_summary(
            folder,
            {
                "method": "conditional",
                "fixed": {f"mode_{mode}": value for mode, value in self.fixed.items()},
                "samples": len(self.latent),
                "proposals": len(self.latent),
                "acceptance": 1.0,
                "ess_importance": share,
                "ess_chain": None,
                "autocorrelation": 1.0,
                "rhat": None,
            },
        )
        return share


def conditional_structures(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    fixed: Mapping[int, float],
    n: int = 100,
    seed: int = 0,
    hamiltonian: ReducedHamiltonian | None = None,
) -> ConditionalStructures:
    """Structures with some modes held, the other modes from the latent Gaussian.

    Of modes of torsions one can be held; the structures are then samples of the density of all
    coordinates where that mode has its value.

    Args:
        model: A model, or its folder.
        fixed: The modes that are held, and their values in standard deviations, such as {0: 1.2}.
        n: The number of structures.
        seed: The seed that makes them repeatable.
        hamiltonian: The Hamiltonian in the variables of the model, which gives the structures
            energies and weights; none where None.

    Raises:
        OptionError: A mode that does not exist, or a value where the model knows nothing.
        SamplingError: Next to no point with these values is a structure.

    Example::

        sc.conditional_structures("model", {0: 1.2}, 20).save("starts")
    """
    check_whole(n, "samples")
    network = open_modes(model)
    density = open_molecular_model(network)
    check_fixed(network, fixed)
    target = None if hamiltonian is None else LatentTarget(density, hamiltonian)
    u = conditional_latent(network, fixed, n, seed).numpy()
    torsions = network if isinstance(network, TorsionModel) else None
    return ConditionalStructures(density, dict(fixed), u, target, torsions)
