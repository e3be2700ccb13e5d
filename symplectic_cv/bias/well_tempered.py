"""Free energies from the bias of a well-tempered metadynamics run."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

KNOWN = 0.01
"""The free energy is unknown where the bias is below this part of its maximum."""


def free_energy(bias: np.ndarray, bias_factor: float) -> np.ndarray:
    """F = −γ/(γ−1) V in kJ/mol on the grid of the bias, least value 0.

    Args:
        bias: V in kJ/mol.
        bias_factor: γ > 1.

    Source: A. Barducci, G. Bussi, M. Parrinello, Phys. Rev. Lett. 100, 020603 (2008).
    """
    surface = -bias_factor / (bias_factor - 1.0) * bias
    return surface - surface.min()


def known_free_energy(bias: np.ndarray, bias_factor: float) -> np.ndarray:
    """`free_energy` in kJ/mol, infinite where there is next to no bias.

    Args:
        bias: V in kJ/mol.
        bias_factor: γ > 1.
    """
    return np.where(bias > KNOWN * bias.max(), free_energy(bias, bias_factor), np.inf)


def bias_offset(bias: np.ndarray, bias_factor: float, kt: float) -> float:
    """c(t) in kJ/mol, which makes exp((V(s, t) − c(t))/kT) the weight of a frame at time t.

    c = kT ln [∫ exp(γ/(γ−1) V/kT) ds / ∫ exp(1/(γ−1) V/kT) ds], on the grid.

    Args:
        bias: V at time t in kJ/mol, on an even grid.
        bias_factor: γ > 1.
        kt: kT in kJ/mol.

    Source: P. Tiwary and M. Parrinello, J. Phys. Chem. B 119, 736 (2015), equation (8).
    """
    scaled = bias.ravel() / kt / (bias_factor - 1.0)
    return float(kt * (logsumexp(bias_factor * scaled) - logsumexp(scaled)))
