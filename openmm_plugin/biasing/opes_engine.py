"""On-the-fly probability enhanced sampling (OPES) of exported modes, through `openmm-opes`.

As for metadynamics, walls stand at the ends of the grid, every deposit is noted, and the state
resumes exactly.

Source: M. Invernizzi and M. Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.biasing.options import BiasEngine, BiasOptions, Deposit, clamped, variables
from symplectic_cv.errors import BackendError
from symplectic_cv.units import thermal_energy

if TYPE_CHECKING:
    from openmm_opes import OPES as _OPES


def require_opes() -> None:
    """Raises BackendError where openmm-opes is not installed; imports nothing."""
    if importlib.util.find_spec("openmm_opes") is None:
        raise BackendError(
            "`opes` needs the package openmm-opes (Python 3.11 or newer): "
            "pip install 'symplectic-cv[opes]'"
        )


def opes_engine(
    system: openmm.System,
    forces: list[openmm.Force],
    options: BiasOptions,
    pace: int,
    shared: tuple[Path, int, int] | None = None,
) -> BiasEngine:
    """An OPES bias, added to the system.

    Args:
        forces: One force per mode, whose energy is the value of the mode.
        pace: The number of time steps between kernels.
        shared: The folder in which walkers share their kernels, the number of this walker, and the
            time steps between two exchanges.

    Raises:
        BackendError: Openmm-opes is not installed.
    """
    require_opes()
    from openmm_opes import OPES

    kt = thermal_energy(options.temperature)

    class Opes(OPES):
        """OPES that notes its deposits; its bias is flat beyond the grid, with walls."""

        last: Deposit | None = None

        @property
        def bias(self) -> np.ndarray:
            return np.array(self.getBias().value_in_unit(unit.kilojoules_per_mole).T)

        def addKernel(self, values: Any, biasEnergy: Any, variance: Any = None) -> bool:
            # called with the bias as the frame has felt it, before the kernel
            energy = biasEnergy.value_in_unit(unit.kilojoules_per_mole)
            self.last = Deposit(np.array(values), energy, float(np.exp(energy / kt)))
            return bool(super().addKernel(values, biasEnergy, variance))

        def state(self) -> dict[str, np.ndarray]:
            # kernels come back from a snapshot with sums rounded anew: this run takes the same
            # way through the snapshot as one that is resumed from it
            snapshot = self.getState()
            self.setState(snapshot)
            return {"bias": self.bias, **{f"opes_{k}": np.asarray(v) for k, v in snapshot.items()}}

        def load(self, arrays: dict[str, np.ndarray], context: openmm.Context) -> None:
            prefix = "opes_"
            self.setState(
                {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            )
            self.updateContext(context)

    folder, walker, every = shared if shared is not None else (None, None, None)
    engine: _OPES = Opes(
        system,
        variables(options, forces),
        options.temperature * unit.kelvin,
        options.barrier * unit.kilojoules_per_mole,
        pace,
        None,
        biasFactor=options.bias_factor,
        saveFrequency=every,
        biasDir=None if folder is None else str(folder),
        walkerId=walker,
    )
    engine._force.setEnergyFunction(clamped(options, len(forces)))
    return engine
