"""Runs that survive a kill: checkpoints and files that grow, kept in step.

A checkpoint records the size and the SHA-256 of every growing file. Resuming checks them, cuts
those files back to the checkpoint, so that nothing is lost or written twice, and continues from
the same state.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.trusted_files import deserialized
from symplectic_cv.errors import OutputError, UserError
from symplectic_cv.files.atomic import process_umask
from symplectic_cv.files.trajectories import recount_dcd, without_counts

PREFIX = "step-"
NONE_YET = "none-yet"
"""The file that says that a run has begun and made no checkpoint yet."""
DCD = ".dcd"
"""Files of this kind grow too, but for two numbers in their header."""
BLOCK = 1 << 20
FARTHEST = 1e5
"""Beyond this an atom is lost, nm; a molecule diffuses a few hundred in a microsecond."""


Check = Callable[[dict[str, np.ndarray], dict[str, Any], dict[Path, int]], None]


class SimulationError(UserError):
    """A simulation that cannot be run, with what to change."""


class CheckpointFolder:
    """The last complete checkpoint of a run, replaced whole each time.

    Args:
        folder: The folder that keeps the checkpoints.
        growing: The files that are only appended to; their sizes belong to a checkpoint.
    """

    def __init__(self, folder: Path, growing: Sequence[Path]) -> None:
        self.folder = folder
        self.growing = list(growing)
        self._hashed = {path: _Growing() for path in self.growing}

    def latest(self) -> Path | None:
        found = sorted(self.folder.glob(f"{PREFIX}*[0-9]"))
        return found[-1] if found else None

    def _begin(self) -> None:
        """Removes what a killed run wrote before its first checkpoint, and marks a new run.

        Raises:
            OutputError: There are data, but nothing says that they had no checkpoint yet.
        """
        held = [path for path in self.growing if path.is_file() and path.stat().st_size > 0]
        if held and not (self.folder / NONE_YET).is_file():
            raise OutputError(
                f"{self.folder}: holds no checkpoint, but {held[0]} holds data, which a new run "
                "would remove: put the checkpoint back, or start anew in another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / NONE_YET).touch()
        for path in self.growing:
            path.unlink(missing_ok=True)

    def save(
        self,
        simulation: app.Simulation,
        arrays: dict[str, np.ndarray] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint, then removes the one before it."""
        step = simulation.currentStep
        final = self.folder / f"{PREFIX}{step:012d}"
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f".{PREFIX}*.tmp"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=self.folder))
        (aside / "openmm.chk").write_bytes(simulation.context.createCheckpoint())
        state = simulation.context.getState(positions=True, velocities=True, parameters=True)
        (aside / "state.xml").write_text(openmm.XmlSerializer.serialize(state))
        np.savez(aside / "arrays.npz", **(arrays or {}))  # type: ignore[arg-type]
        present = [path for path in self.growing if path.exists()]
        record = {
            "step": step,
            "sizes": {path.name: self._hashed[path].follow(path) for path in present},
            "growing_sha256": {path.name: self._hashed[path].digest for path in present},
            "sha256": {path.name: _digest(path) for path in aside.iterdir()},
            "extra": extra or {},
        }
        (aside / "record.json").write_text(json.dumps(record))
        for path in [*aside.iterdir(), *present]:
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())
        before = [path for path in self.folder.glob(f"{PREFIX}*[0-9]") if path != final]
        if final.exists():
            shutil.rmtree(final)
        aside.chmod(0o777 & ~process_umask())
        aside.rename(final)
        (self.folder / NONE_YET).unlink(missing_ok=True)
        for path in before:
            shutil.rmtree(path)

    def restore(
        self, simulation: app.Simulation, check: Check | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Puts the simulation and the growing files back to the last checkpoint.

        Args:
            check: A function that is called with the arrays, the extra record and the sizes of the
                growing files before anything is changed. It raises ValueError for a damaged
                checkpoint.

        Returns:
            The arrays and the extra record of the checkpoint. None where there is no checkpoint
            yet; the growing files, which then hold the beginning of a killed run, are removed.

        Raises:
            OutputError: A checkpoint that is damaged or lost; nothing is changed then.
        """
        latest = self.latest()
        if latest is None:
            self._begin()
            return None
        try:
            record = json.loads((latest / "record.json").read_text())
            # OpenMM reads a cut or altered checkpoint without a word
            for name, digest in record["sha256"].items():
                if _digest(latest / name) != digest:
                    raise ValueError(f"{name} is truncated or altered")
            with np.load(latest / "arrays.npz", allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            checkpoint = (latest / "openmm.chk").read_bytes()
            state = (latest / "state.xml").read_bytes()
            sizes = {path: int(record["sizes"][path.name]) for path in self.growing}
            hashed = {}
            for path, size in sizes.items():
                if path.stat().st_size < size:
                    raise OSError(f"{path.name} is shorter than at the checkpoint")
                hashed[path] = _Growing()
                hashed[path].follow(path, size)
                if hashed[path].digest != record["growing_sha256"][path.name]:
                    raise ValueError(f"{path.name} was altered")
            if check is not None:
                check(arrays, record["extra"], sizes)
        except Exception as error:  # zipfile, zlib, json and NumPy each raise their own
            raise OutputError(
                f"{latest}: damaged checkpoint ({error}); nothing was changed; start anew in "
                "another folder"
            ) from error
        try:
            simulation.context.loadCheckpoint(checkpoint)
        except openmm.OpenMMException:  # written on another platform or machine
            try:
                simulation.context.setState(deserialized(state, "State"))
            except Exception as error:
                raise OutputError(
                    f"{latest}: damaged checkpoint ({error}); nothing was changed; start anew in "
                    "another folder"
                ) from error
        simulation.currentStep = int(record["step"])
        for path, size in sizes.items():
            os.truncate(path, size)
            if path.suffix == DCD and size > 0:
                recount_dcd(path)
        self._hashed = hashed
        return arrays, record["extra"]


class _Growing:
    """SHA-256 of a file that is appended to; each byte is read once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    def follow(self, path: Path, size: int | None = None) -> int:
        """Takes in what was appended, up to a size; returns the size reached."""
        with open(path, "rb") as handle:
            handle.seek(self._size)
            while size is None or self._size < size:
                wanted = BLOCK if size is None else min(BLOCK, size - self._size)
                block = handle.read(wanted)
                if not block:
                    break
                self._hash.update(
                    without_counts(block, self._size) if path.suffix == DCD else block
                )
                self._size += len(block)
        return self._size

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def steps_of(time: float, timestep: float, option: str) -> int:
    """Number of time steps in a time, both in the same unit; at least one.

    Raises:
        UserError: Not a positive number.
    """
    if not 0.0 < time < float("inf"):
        raise SimulationError(f"`{option}` must be positive; got {time}")
    if not 0.0 < timestep < float("inf"):
        raise SimulationError(f"`timestep_fs` must be positive; got {timestep}")
    return max(1, round(time / timestep))


def has_blown_up(simulation: app.Simulation) -> bool:
    """Whether coordinates are NaN, infinite or absurd.

    OpenMM, its reporters and the modes each raise other errors for such coordinates, so the
    coordinates themselves are examined.
    """
    return is_absurd(simulation.context.getState(positions=True))


def is_absurd(state: openmm.State) -> bool:
    """Whether a coordinate of the state is NaN, infinite or absurd."""
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return not bool((np.abs(positions) < FARTHEST).all())


def blown_up(step: int, timestep: float, folder: Path) -> SimulationError:
    """The error for a simulation that `has_blown_up`."""
    return SimulationError(
        f"{folder}: the simulation blew up near {step * timestep:.3f} ps (coordinates are NaN or "
        "absurd): use a smaller `timestep_fs` or a relaxed starting structure; the last checkpoint "
        "is kept"
    )
