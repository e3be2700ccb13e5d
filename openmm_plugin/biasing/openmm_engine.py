"""OpenMM's own metadynamics, kept flat beyond its grid, with walls, and restored exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.biasing.options import (
    BiasOptions,
    Deposit,
    clamped,
    variables,
)
from symplectic_cv.bias.well_tempered import bias_offset


class Metadynamics(app.Metadynamics):
    """`app.Metadynamics` whose bias is flat beyond its grid, with walls, and can be restored.

    Args:
        system: The system, to which the bias is added.
        forces: One force per mode, whose energy is the value of the mode.
        options: The options of the bias.
        pace: The number of time steps between hills.
    """

    def __init__(
        self, system: openmm.System, forces: list[openmm.Force], options: BiasOptions, pace: int
    ) -> None:
        super().__init__(
            system,
            variables(options, forces),
            options.temperature * unit.kelvin,
            options.bias_factor,
            options.height * unit.kilojoules_per_mole,
            pace,
        )
        self.last: Deposit | None = None
        self._options = options
        self._force.setEnergyFunction(clamped(options, len(forces)))

    @property
    def bias(self) -> np.ndarray:
        """V in kJ/mol on the grid; the first mode runs along the first axis."""
        return np.array(self._totalBias.T)

    def _addGaussian(self, position: Any, height: Any, context: openmm.Context) -> None:
        # called by `step` with the bias as the frame has felt it: note it before the hill
        first = self.height.value_in_unit(unit.kilojoules_per_mole)
        now = height.value_in_unit(unit.kilojoules_per_mole)
        scale = (unit.MOLAR_GAS_CONSTANT_R * self._deltaT).value_in_unit(unit.kilojoules_per_mole)
        kt = scale / (self.biasFactor - 1.0)
        energy = scale * float(np.log(first / now))
        offset = bias_offset(self._totalBias, self.biasFactor, kt)
        weight = float(np.exp((energy - offset) / kt))
        added = self._options.hill_height(energy, offset)
        self.last = Deposit(np.array(position), energy, weight, added)
        if added > 0.0:
            super()._addGaussian(position, height, context)

    def restore(self, bias: np.ndarray, context: openmm.Context) -> None:
        """Puts back a bias that `bias` gave."""
        self._selfBias[:] = bias.T
        self._totalBias[:] = bias.T
        flat = self._totalBias.flatten()
        if len(self.variables) == 1:
            self._table.setFunctionParameters(flat, *self._limits)
        else:
            self._table.setFunctionParameters(*self._widths, flat, *self._limits)
        self._force.updateParametersInContext(context)

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for a checkpoint."""
        return {"bias": self.bias}

    def load(self, arrays: dict[str, np.ndarray], context: openmm.Context) -> None:
        """Puts back what `state` gave."""
        self.restore(arrays["bias"], context)
