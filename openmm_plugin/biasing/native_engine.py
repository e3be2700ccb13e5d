"""Well-tempered metadynamics whose bias and grid live inside one native force.

The force evaluates the modes, the bias at their values and its gradient in one pass, so that
two modes cost one reverse pass, and a hill costs microseconds: nothing is refitted. Bias, c(t)
and files are those of `openmm_plugin.biasing.run`; only the interpolation between grid points
differs, by less than a per mille of a hill.
"""

from __future__ import annotations

import base64
import ctypes
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np
import openmm
from openmm import app

from openmm_plugin.biasing.options import BiasOptions, Deposit
from openmm_plugin.native_library import call, doubles, in_nanometers, make_force
from symplectic_cv.exporting.native_format import read_metadata
from symplectic_cv.units import thermal_energy

MODE, BIAS = "SymplecticCVFlowForce", "SymplecticCVFlowBiasForce"


def carried_file(forces: Sequence[openmm.Force]) -> bytes | None:
    """The file of native forces that are all of its modes, in order; None for any others."""
    content = None
    for place, force in enumerate(forces):
        if type(force) is not openmm.Force:  # classes that OpenMM's wrapper knows
            return None
        root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
        if root.get("type") != MODE or root.get("mode") != str(place):
            return None
        file = base64.b64decode(root.get("file", ""))
        if content is not None and file != content:
            return None
        content = file
    if content is None or len(_modes_in(content)) != len(forces):
        return None
    return content


def _modes_in(content: bytes) -> list[int]:
    """The numbers of the modes in a file that a force has already checked."""
    return list(read_metadata(content, "the file of a force")["modes"])


class NativeMetadynamics:
    """A metadynamics bias on all modes of an exported file; a `BiasEngine`.

    Args:
        system: The system, to which the bias is added.
        content: The file for the native core, of one to three modes.
        options: See `BiasOptions`.
        pace: The number of time steps between hills.

    Raises:
        BackendError: The native force cannot be used here.
    """

    def __init__(
        self, system: openmm.System, content: bytes, options: BiasOptions, pace: int
    ) -> None:
        numbers = _modes_in(content)
        self._n_modes = len(numbers)
        self._widths = np.array(options.widths(self._n_modes))
        self._grid = options.grid(self._n_modes)
        self._options, self._pace = options, pace
        self._kt = thermal_energy(options.temperature)
        self._periodic = system.usesPeriodicBoundaryConditions()
        self.last: Deposit | None = None
        axes = "".join(
            f'<Axis low="{low!r}" high="{high!r}" points="{points}"/>'
            for (low, high), points in zip(
                options.ends(self._n_modes), self._grid.points, strict=True
            )
        )
        modes = " ".join(str(mode) for mode in numbers)
        name = f"symplectic-cv bias of modes {modes}"
        force = make_force(
            BIAS, content, self._periodic, name, children=axes, wall=repr(float(options.wall))
        )
        self.force = system.getForce(system.addForce(force))
        self._system = system  # it owns the force

    @property
    def bias(self) -> np.ndarray:
        """V in kJ/mol on the grid; the first mode runs along the first axis."""
        values = np.empty(self._grid.shape)
        call("scv_bias_get", self.force, doubles(values), ctypes.c_longlong(values.size))
        return values

    def evaluate(self, state: openmm.State) -> tuple[np.ndarray, float]:
        """Values of the modes (n_modes,), and energy of bias and walls in kJ/mol.

        Args:
            state: A state with positions.
        """
        positions = in_nanometers(state.getPositions(asNumpy=True))
        box = in_nanometers(state.getPeriodicBoxVectors(asNumpy=True)) if self._periodic else None
        modes, energy = np.empty(self._n_modes), ctypes.c_double()
        n = ctypes.c_int(len(positions))
        call(
            "scv_bias_evaluate",
            self.force,
            doubles(positions),
            n,
            doubles(box),
            doubles(modes),
            ctypes.byref(energy),
        )
        return modes, energy.value

    def add_hill(self, modes: np.ndarray, height: float) -> None:
        """Adds a Gaussian of the options' widths, `height` in kJ/mol."""
        center = np.ascontiguousarray(modes, dtype=np.float64)
        call(
            "scv_bias_add",
            self.force,
            doubles(center),
            doubles(self._widths),
            ctypes.c_double(height),
        )

    def offset(self) -> float:
        """c(t) in kJ/mol, as `bias_offset` gives it."""
        found = ctypes.c_double()
        factor, kt = ctypes.c_double(self._options.bias_factor), ctypes.c_double(self._kt)
        call("scv_bias_offset", self.force, factor, kt, ctypes.byref(found))
        return found.value

    def step(self, simulation: app.Simulation, steps: int) -> None:
        """Moves on, and deposits a hill each time the pace is reached."""
        left = steps
        while left > 0:
            part = min(left, self._pace - simulation.currentStep % self._pace)
            simulation.step(part)
            left -= part
            if simulation.currentStep % self._pace == 0:
                self._deposit(simulation.context)

    def _deposit(self, context: openmm.Context) -> None:
        modes, energy = self.evaluate(context.getState(positions=True))
        offset = self.offset()
        height = self._options.hill_height(energy, offset)
        weight = float(np.exp((energy - offset) / self._kt))
        self.last = Deposit(modes, energy, weight, height)
        if height > 0.0:
            self.add_hill(modes, height)

    def restore(self, bias: np.ndarray, context: openmm.Context) -> None:
        """Puts back a bias that `bias` gave, for every Context of the system."""
        self._set(bias)

    def _set(self, bias: np.ndarray) -> None:
        values = np.ascontiguousarray(bias, dtype=np.float64)
        call("scv_bias_set", self.force, doubles(values), ctypes.c_longlong(values.size))

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for a checkpoint.

        The sums behind c(t) begin anew here, as they do in a run that is resumed from these arrays:
        both then round alike, and their tables are the same byte for byte.
        """
        bias = self.bias
        self._set(bias)
        return {"bias": bias}

    def load(self, arrays: dict[str, np.ndarray], context: openmm.Context) -> None:
        """Puts back what `state` gave."""
        self.restore(arrays["bias"], context)
