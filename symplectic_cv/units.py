"""Units and constants: nm, ps, Da, kJ/mol, K, rad/ps (1 kJ/mol = 1 Da nm²/ps²)."""

from __future__ import annotations

from symplectic_cv.errors import OptionError

BOLTZMANN = 0.00831446261815324
"""Boltzmann's constant in kJ/(mol K): the exact 2019 SI value, k_B N_A."""


def thermal_energy(temperature: float) -> float:
    """kT in kJ/mol.

    Args:
        temperature: The temperature in K.

    Raises:
        OptionError: The temperature is not a finite positive number.

    Example:
        >>> round(thermal_energy(300.0), 4)
        2.4943
    """
    try:
        positive = 0.0 < temperature < float("inf")
    except TypeError:
        positive = False
    if not positive:
        raise OptionError(f"`temperature` must be positive, in K; got {temperature!r}")
    return BOLTZMANN * temperature
