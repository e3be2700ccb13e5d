"""The folder of an adaptive loop: where its files lie, and the records of its rounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import write_table
from symplectic_cv.models.model_folder import CONFIG, read_config

SUMMARY = "summary.json"
"""The last file of a round, and of the unbiased run that a loop may begin with."""
TRAJECTORY = "trajectory.xtc"
ROUNDS = "rounds.csv"
WEIGHTS = "weights.npy"
SHOWN_FREQUENCIES = 6
"""Slowest frequencies of each model that rounds.csv shows."""


@dataclass(frozen=True)
class RoundModel:
    """The model of a round, in numbers.

    Attributes:
        validation_nll: The negative log-likelihood of the validation frames, nats; None for modes
            of torsions, which have no likelihood.
        omega: The frequencies of all modes, rad/ps, slowest first.
        modes: The modes that the round biases.
        free_energy_change: The change of the free energies along torsions by the round, kJ/mol;
            None for the first round.
    """

    validation_nll: float | None
    omega: list[float]
    modes: list[int]
    free_energy_change: float | None = None

    @classmethod
    def read(cls, folder: Path, modes: Sequence[int]) -> RoundModel:
        """Reads the numbers of a model folder.

        Args:
            folder: The model folder.
            modes: The modes that the round biases.

        Raises:
            ModelError: the folder holds no model.
        """
        config = read_config(folder)
        found = config["training"].get("validation_nll_nats")
        return cls(
            validation_nll=None if found is None else float(found),
            omega=[float(omega) for omega in config["omega_rad_per_ps"]],
            modes=list(modes),
        )


@dataclass(frozen=True)
class LoopFolder:
    """Paths of the files of an adaptive loop.

    Attributes:
        path: The folder of the loop.
    """

    path: Path

    @property
    def start(self) -> Path:
        """The unbiased run that a loop without data begins with."""
        return self.path / "start"

    @property
    def free_energy(self) -> Path:
        """The free energies of all rounds together."""
        return self.path / "free_energy"

    @property
    def report(self) -> Path:
        """The report of a finished loop. It is written last, and removed when a round begins."""
        return self.path / "report.html"

    def round(self, number: int) -> Path:
        """The folder of a round."""
        return self.path / f"round-{number}"

    def model(self, number: int) -> Path:
        """The model folder of a round."""
        return self.round(number) / "model"

    def bias(self, number: int) -> Path:
        """The biased run of a round."""
        return self.round(number) / "metadynamics"

    def has_model(self, number: int) -> bool:
        """Whether the training of a round is complete."""
        return (self.model(number) / CONFIG).is_file()

    def start_ns(self) -> float:
        """Length of the unbiased run that the loop made, ns; NaN where the user gave the data."""
        record = self.start / SUMMARY
        if not record.is_file():
            return float("nan")
        return float(json.loads(record.read_text())["time_ns"])

    def write_start(self, time_ns: float, frames: int) -> None:
        """Records that the unbiased run is complete."""
        content = json.dumps({"time_ns": time_ns, "frames": frames}) + "\n"
        write_atomically(self.start / SUMMARY, content.encode())

    def write_round(self, number: int, model: RoundModel, rows: Sequence[RoundProgress]) -> None:
        """Writes the last file of a round; a round that has it is complete."""
        record = {"model": asdict(model), "progress": [row.to_json() for row in rows]}
        content = json.dumps(record, indent=1) + "\n"
        write_atomically(self.round(number) / SUMMARY, content.encode())

    def read_round(self, number: int) -> tuple[RoundModel, list[RoundProgress]] | None:
        """The model and the progress of a complete round; None for a round that is not complete.

        Raises:
            OutputError: the record is damaged.
        """
        path = self.round(number) / SUMMARY
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
            model = RoundModel(**record["model"])
            return model, [RoundProgress.from_json(row) for row in record["progress"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OutputError(
                f"{path}: damaged ({error}); remove it to judge the round anew"
            ) from error

    def write_rounds(self, rows: Sequence[RoundProgress], models: Sequence[RoundModel]) -> None:
        """Writes rounds.csv; row 0 is for the frames that the loop began with.

        Args:
            rows: The progress of all rounds, judged by the newest model's states.
            models: The models of rounds 1, 2, …
        """
        of_row = [models[row.round - 1] if row.round > 0 else None for row in rows]
        write_table(
            self.path / ROUNDS,
            {
                "round": [row.round for row in rows],
                "frames": [row.frames for row in rows],
                "time_ns": [row.time_ns for row in rows],
                "states_visited": [row.states for row in rows],
                "crossings": [row.crossings for row in rows],
                "crossings_per_ns": [row.crossings_per_ns for row in rows],
                "validation_nll_nats": [
                    f"{m.validation_nll:.6g}" if m and m.validation_nll is not None else ""
                    for m in of_row
                ],
                "slowest_omega_rad_per_ps": [
                    " ".join(f"{omega:.4g}" for omega in m.omega[:SHOWN_FREQUENCIES]) if m else ""
                    for m in of_row
                ],
                "modes": [" ".join(map(str, m.modes)) if m else "" for m in of_row],
                "free_energy_change_kj_per_mol": [
                    f"{m.free_energy_change:.6g}" if m and m.free_energy_change is not None else ""
                    for m in of_row
                ],
            },
            "%.6g",
        )
