"""The tables of a biased run that grow while it runs: a row for each frame, a row for each hill."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from openmm_plugin.biasing.options import BiasOptions, Deposit
from openmm_plugin.biasing.watching import Watch
from symplectic_cv.bias.hills import HILLS, hills_header
from symplectic_cv.bias.run import COLVAR, BiasRecord, colvar_header


class BiasTables:
    """`colvar.csv` and, for metadynamics, `hills.csv`; open between `with` and its end.

    Args:
        folder: The folder of the run.
        record: The method, modes and widths of the bias.
        options: The options of the bias.
        watch: The watch that has seen each frame for which a row is written, or None.
    """

    def __init__(
        self,
        folder: Path,
        record: BiasRecord,
        options: BiasOptions,
        watch: Watch | None = None,
    ) -> None:
        self.colvar = folder / COLVAR
        self.hills = None if options.opes else folder / HILLS
        self._record = record
        self._open = ExitStack()
        self._watch = watch
        self._waiting: list[list[float]] = []

    @property
    def paths(self) -> list[Path]:
        return [self.colvar] + ([] if self.hills is None else [self.hills])

    def begin(self) -> None:
        """Writes the headers of a new run."""
        header = colvar_header(self._record.modes, self._watch is not None)
        self.colvar.write_text(",".join(header) + "\n")
        if self.hills is not None:
            self.hills.write_text(",".join(hills_header(self._record.modes)) + "\n")

    def __enter__(self) -> BiasTables:
        self._waiting.clear()
        if self._watch is not None:
            self._watch.begin()
        self._files = [self._open.enter_context(path.open("a")) for path in self.paths]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write_frames()
        self._open.close()

    def write(self, time: float, hill: Deposit) -> None:
        """The rows of one frame, which is also the place of a hill; time in ps."""
        record = self._record
        _, *hills = self._files
        frame = [time, *hill.modes, hill.bias, hill.offset(record.kt), hill.weight]
        self._waiting.append(frame)
        if self._watch is None:
            self._write_frames()
        if hills:
            row = [time, *hill.modes, *record.widths, hill.height]
            hills[0].write(_row(row, 12))

    def flush(self) -> int:
        """Hands all rows to the file system; the size of hills.csv in bytes."""
        self._write_frames()
        for file in self._files:
            file.flush()
        return 0 if self.hills is None else self.hills.stat().st_size

    def _write_frames(self) -> None:
        """Writes the rows of frames that wait for their extrapolation, which is computed at once.

        A frame that is seen but has no row yet comes from an interrupted step.
        """
        colvar = self._files[0]
        if self._watch is None:
            colvar.writelines(_row(row, 8) for row in self._waiting)
        else:
            seen = self._watch.take()[: len(self._waiting)]
            for row, extrapolation in zip(self._waiting, seen, strict=True):
                colvar.write(f"{_row(row, 8).rstrip()},{extrapolation:.4g}\n")
        self._waiting.clear()


def _row(numbers: Sequence[float], digits: int) -> str:
    return ",".join(f"{number:.{digits}g}" for number in numbers) + "\n"
