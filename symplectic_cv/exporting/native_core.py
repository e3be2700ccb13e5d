"""The native core: exported modes and their gradients in C++, for NumPy arrays.

A frame takes a hundredth of the time that TorchScript takes, and less where many frames are
computed at once. The core needs neither torch nor OpenMM. Of a flow it superposes in float64 and
evaluates networks in float32; modes of torsions are in float64 throughout. It releases the
interpreter while it works; any number of threads may share one core.

The compiled part is built by `pip install` where there is a C++ compiler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from symplectic_cv.errors import BackendError, FrameError, ModelError, OptionError
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.exporting.native_format import read_metadata

LONGEST_BOND, STRETCH = 0.4, 1.6
"""A bond is torn where it is longer than this, in nm, and than this many times its mean length."""


class Core:
    """Exported modes as functions of positions.

    Args:
        content: The bytes of a file that `symplectic_cv.export` wrote for the core.
        name: The name of the file in messages.
        instructions: `baseline`, `avx2` or `avx512` at most; the best of this machine where None.

    Attributes:
        metadata: The modes, ω in rad/ps, temperature, molecule, SHA-256.
        indices: The places of the modelled atoms in the system, shape (N,).

    Raises:
        ModelError: The content is truncated, altered, or not of such a file.
        BackendError: The core is not compiled here.
    """

    def __init__(
        self, content: bytes, name: str = "the file", instructions: str | None = None
    ) -> None:
        problem = core_problem()
        if problem is not None:
            raise BackendError(problem)
        from symplectic_cv import _core

        try:
            self._modes = _core.read(content, instructions)
        except ValueError as error:
            raise ModelError(
                f"{name}: cannot be used as a collective variable: {error}; export it again with "
                "`symplectic_cv.export`"
            ) from error
        self.metadata: dict[str, Any] = read_metadata(content, name)
        self.indices = np.array(self._modes.atoms, dtype=np.int64)
        bonds = self.metadata["molecule"].get("bonds", [])
        self._bonds = np.array(bonds, dtype=np.int64).reshape(-1, 2)
        self._longest = np.full(len(self._bonds), LONGEST_BOND)
        reference = safetensors.numpy.load(content).get("reference")  # that of a flow
        if reference is not None:
            mean = _lengths(reference[None], self._bonds)[0]
            self._longest = np.maximum(LONGEST_BOND, STRETCH * mean)

    @property
    def n_atoms(self) -> int:
        """N, of the modelled atoms."""
        return self._modes.n_atoms

    @property
    def n_modes(self) -> int:
        return self._modes.n_modes

    @property
    def n_couplings_used(self) -> int:
        """The number of the flow's couplings that the modes depend on; 0 for modes of torsions."""
        return getattr(self._modes, "n_couplings_used", 0)

    @property
    def instructions(self) -> str:
        """The kernels that run: `baseline`, `avx2` or `avx512`."""
        return self._modes.instructions

    def values(
        self, positions: np.ndarray, box: np.ndarray | None = None, selected: bool = False
    ) -> np.ndarray:
        """Values of the modes (ω_k Q_k of a flow), dimensionless, (F, n_modes) in float64.

        Args:
            positions: The positions of the whole system, (F, n_system_atoms, 3) in nm.
            box: The box vectors in nm in OpenMM's reduced form, (3, 3) or (F, 3, 3), by which the
                molecule is made whole; None where it is whole already, which is checked.
            selected: The positions are (F, N, 3), of the modelled atoms alone.

        Raises:
            OptionError: Arrays of another shape, or too few atoms.
            FrameError: A frame whose values are not finite, or one without a box whose molecule
                is torn.

        Example::

            core = sc.load_core("cv.safetensors")
            modes = core.values(trajectory.xyz, box=trajectory.unitcell_vectors)
        """
        return self._evaluate(positions, box, None, selected)[0]

    def gradient(
        self,
        positions: np.ndarray,
        combinations: np.ndarray | None = None,
        box: np.ndarray | None = None,
        selected: bool = False,
    ) -> np.ndarray:
        """Gradients by the positions given, (F, m, n_system_atoms, 3) in 1/nm.

        Args:
            positions, box, selected: The frames, as `values` takes them.
            combinations: The weights of the modes in each gradient, shape (m, n_modes); one
                gradient per mode where None.
        """
        return self.values_and_gradients(positions, combinations, box, selected)[1]

    def values_and_gradients(
        self,
        positions: np.ndarray,
        combinations: np.ndarray | None = None,
        box: np.ndarray | None = None,
        selected: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The results of `values` and `gradient`, from one forward pass."""
        if combinations is None:
            combinations = np.eye(self.n_modes)
        combinations = np.ascontiguousarray(combinations, dtype=np.float64)
        if combinations.ndim != 2 or combinations.shape[1] != self.n_modes:
            raise OptionError(
                f"combinations have shape {combinations.shape}, not (m, {self.n_modes}): one "
                "column per exported mode"
            )
        values, gradients = self._evaluate(positions, box, combinations, selected)
        assert gradients is not None
        return values, gradients

    def _require_whole(self, positions: np.ndarray) -> None:
        """Raises FrameError where a bond of the modelled atoms, (F, N, 3) in nm, is torn."""
        torn = np.argwhere(_lengths(positions, self._bonds) > self._longest)
        if len(torn):
            frame, bond = (int(k) for k in torn[0])
            atoms = self.metadata["molecule"]["atoms"]
            first, second = (
                f"{atom['residue']}{atom['residue_number']}-{atom['name']}"
                for atom in (atoms[k] for k in self._bonds[bond])
            )
            apart = _lengths(positions[frame : frame + 1], self._bonds)[0, bond]
            raise FrameError(
                f"frame {frame}: {first} and {second}, which are bonded, are {apart:.2f} nm apart: "
                "the molecule is torn by a periodic boundary; give the box with `box` "
                "(MDTraj: trajectory.unitcell_vectors), or whole molecules in nm"
            )

    def _evaluate(
        self,
        positions: np.ndarray,
        box: np.ndarray | None,
        combinations: np.ndarray | None,
        selected: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        x = np.asarray(positions)
        if x.dtype not in (np.float32, np.float64):
            x = x.astype(np.float64)
        x = np.ascontiguousarray(x)
        least = self.n_atoms if selected else int(self.indices.max()) + 1
        if x.ndim != 3 or x.shape[2] != 3:
            raise OptionError(f"positions have shape {x.shape}, not (frames, atoms, 3)")
        if x.shape[1] < least or (selected and x.shape[1] != least):
            raise OptionError(
                f"positions have {x.shape[1]} atoms; the model needs "
                + (f"exactly its own {least}" if selected else f"a system of at least {least}")
            )
        if box is None:
            self._require_whole(x if selected else x[:, self.indices])
        else:
            box = np.asarray(box, dtype=np.float64)
            if box.shape not in ((3, 3), (len(x), 3, 3)):
                raise OptionError(f"box has shape {box.shape}, not (3, 3) or (frames, 3, 3)")
            box = np.ascontiguousarray(np.broadcast_to(box, (len(x), 3, 3)))
        values = np.empty((len(x), self.n_modes))
        gradients = None
        if combinations is not None:
            gradients = np.empty((len(x), len(combinations), x.shape[1], 3))
        self._modes.evaluate(x, box, combinations, values, gradients, selected)
        lost = ~np.isfinite(values).all(1)
        if gradients is not None:
            lost |= ~np.isfinite(gradients).all((1, 2, 3))
        if lost.any():
            raise FrameError(
                f"frame {int(lost.argmax())}: the modes are not finite there (NaN positions, an "
                "orientation that is not unique, three atoms of a torsion on one line, or a "
                "structure far from all that was learned)"
            )
        return values, gradients


def _lengths(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Lengths of bonds, shape (F, n_bonds), in nm."""
    steps = positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]]
    return np.asarray(np.sqrt(np.einsum("fbc,fbc->fb", steps, steps)))


def load_core(path: str | Path) -> Core:
    """The core for a file that `symplectic_cv.export` wrote.

    Raises:
        ModelError: The file is missing, truncated or altered.
        BackendError: The core is not compiled here.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file (`symplectic_cv.export` writes one)")
    return Core(path.read_bytes(), str(path))
