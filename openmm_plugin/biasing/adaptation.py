"""The adaptive loop: rounds of training, biasing the slowest modes, and training again.

A model of one basin cannot know another. Each round learns from all frames so far, biases the
slowest modes that it finds, and adds the frames of its biased run. The loop ends when crossings
between metastable states no longer grow. All rounds are then combined into free energies.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
import openmm
from openmm import unit

from openmm_plugin.biasing.adaptation_learning import learner_of
from openmm_plugin.biasing.adaptation_options import AdaptationOptions
from openmm_plugin.biasing.adaptation_progress import (
    AdaptationProgress,
    OnStage,
    StageProgress,
)
from openmm_plugin.biasing.adaptation_start import (
    Structure,
    check_frames,
    check_start_time,
    molecule_of,
    simulate_start,
)
from openmm_plugin.biasing.metadynamics import metadynamics
from openmm_plugin.biasing.options import BiasProgress
from openmm_plugin.native_library import in_nanometers
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.judging import RoundProgress, best_round, still_growing
from symplectic_cv.adaptation.round_folders import LoopFolder, RoundModel
from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.bias.states import States
from symplectic_cv.checks import check_kind
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import DataWarning, OptionError
from symplectic_cv.files.run_folder import require_free, start_run
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.modes import check_modes
from symplectic_cv.molecule import select_atoms
from symplectic_cv.units import thermal_energy


class Adaptation:
    """Rounds of training, biasing the slowest modes, and training again on all frames.

    Iterating runs one round after another and gives the progress of each. The folder gets
    round-1/, round-2/, … with model/ and metadynamics/, and rounds.csv; `free_energies` adds
    free_energy/. A loop that was killed goes on with `resume`, and so does a finished one with
    more `rounds` or a longer `final_ns`.

    Example::

        options = AdaptationOptions(rounds=3, time_ns=5.0)
        loop = Adaptation("md/system.xml", data="md/trajectory.xtc", options=options)
        for progress in loop:
            print(progress.round, progress.rows[-1].crossings)
        loop.free_energies().differences

    Attributes:
        options: The options of the loop.
        folder: The folder of the loop.
        rows: The progress of all rounds so far.
        models: The models of all rounds so far.
        states: The states of the newest model, after a round or `free_energies`.
        reason: Why the loop ended.
    """

    def __init__(
        self,
        system: MolecularSystem | openmm.System | str | Path,
        topology: Structure | None = None,
        data: TrajectoryData | md.Trajectory | str | Path | Sequence[str | Path] | None = None,
        options: AdaptationOptions | None = None,
        folder: str | Path = "adapt",
        resume: bool = False,
        progress: OnStage | None = None,
        warn: Callable[[str], None] | None = None,
        positions: unit.Quantity | np.ndarray | None = None,
    ) -> None:
        """Checks everything that can be checked before a file is written.

        Args:
            system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
            topology: The topology of the system's atoms (of OpenMM or MDTraj), an `md.Trajectory`,
                or the path of a PDB; with a system.xml topology.pdb beside it is read where None.
            data: The frames to begin with: trajectory files of all atoms of the system, one or
                several, a `TrajectoryData`, or an MDTraj trajectory. A short unbiased run is made
                where None.
            options: How the loop trains, biases and ends.
            folder: The folder of the loop, made with the first round.
            resume: Whether to continue the loop that the folder holds. Where it holds none, a
                new loop begins.
            progress: Called many times in each stage of a round.
            warn: Called with a line where the data are few or a simulation blew up and goes on.
            positions: The structure to start from, shape (n_atoms, 3), in nm or with unit. Where
                None it is the structure in `topology`, or the first frame of the data.

        Raises:
            OptionError: an option makes no sense, or does not fit the molecule.
            OutputError: the folder holds another run, and `resume` is False.
            TrajectoryError: a file is missing or damaged, or has too few frames.
        """
        self.options = check_kind(options, AdaptationOptions, "options")
        self.folder = Path(folder)
        if not resume:
            require_free(self.folder)
        self.rows: list[RoundProgress] = []
        self.states: States | None = None
        self.reason: str | None = None
        self._files = LoopFolder(self.folder)
        self._resume = resume
        self._progress = progress
        self._warn = warn
        self._current = 0
        self._frames_read = 0
        if isinstance(data, md.Trajectory):
            data = TrajectoryData.from_mdtraj(data)
        given = [] if data is None or isinstance(data, TrajectoryData) else _listed(data)
        first = data if isinstance(data, TrajectoryData) else given
        self._molecule, self._topology = molecule_of(system, topology, positions, first)
        self._platform = self.options.chosen_platform(self._topology.n_atoms)
        self._chosen = self.options.chosen_modes()
        self._start: TrajectoryData | None = None
        if isinstance(data, TrajectoryData):
            if self.options.atoms is not None:
                raise OptionError("`atoms` goes with files: `data` has its atoms already")
            self._start = data
            modelled, reference = data.molecule, data.positions[0]
        else:
            modelled = select_atoms(self._topology, self.options.atoms)
            reference = in_nanometers(self._molecule.positions)[modelled.indices]
        self._learner = learner_of(self.options, modelled, reference, self.folder)
        if self._chosen is not None:
            check_modes(self._chosen, self._learner.n_modes)
        if given:
            self._start = self._read(given)
        if self._start is not None:
            check_frames(self._start, self._topology, self._learner)
        else:
            check_start_time(self.options.start_ns, self.options.timestep_fs, self._learner)
        self._settings = self._record(given, data)
        self._gathered: GatheredFrames | None = None
        self._rounds = self._run()

    @property
    def chart(self) -> Chart:
        """The coordinates that the modes are functions of."""
        return self._learner.chart

    @property
    def models(self) -> list[RoundModel]:
        return [] if self._gathered is None else self._gathered.models

    @property
    def best(self) -> int:
        """The number of the round with the most crossings per ns."""
        return best_round(self.rows)

    def __iter__(self) -> Iterator[AdaptationProgress]:
        return self._rounds

    def free_energies(self) -> Reweighted:
        """Combines all rounds into free energies, and writes them into free_energy/.

        The run of the best round is first made longer by `final_ns`. Free energies are given in
        the modes of the best round and in backbone torsions. Differences between the states of the
        newest model are relative to state 0, the deepest. Rounds that rarely cross are thinned in
        proportion to their crossing rate.

        Returns:
            The free energies, with standard errors.

        Raises:
            OptionError: no round is complete.
        """
        if self._gathered is None or not self.rows:
            raise OptionError("no round is complete: iterate over the loop first")
        options, best = self.options, self.best
        if options.final_ns > 0.0:
            modes = self.models[best - 1].modes
            self._bias(best, modes, options.time_ns + options.final_ns, "extending")
            self._gathered.run_changed(best)
        self.states, self.rows = self._gathered.judge(thermal_energy(options.temperature))
        self._files.write_rounds(self.rows, self.models)
        result = self._gathered.free_energies(best, self.rows, self.states, options.seed)
        shutil.rmtree(self._files.free_energy, ignore_errors=True)
        result.save(self._files.free_energy)
        return result

    def _run(self) -> Iterator[AdaptationProgress]:
        """Runs the rounds, and gives the progress of each."""
        options = self.options
        start_run(self.folder, self._settings, self._resume)
        start = self._start if self._start is not None else self._simulated()
        gathered = GatheredFrames(self._files, start, self._topology, self._count_frames)
        self._gathered = gathered
        for number in range(1, options.rounds + 1):
            self._current = number
            self.states = None
            before = self._files.read_round(number)
            if before is not None:
                model, self.rows = before
                gathered.add_round(model)
            else:
                # the report of a finished loop is of all rounds
                self._files.report.unlink(missing_ok=True)
                self._train(number, gathered)
                modes = self._modes_of(number, gathered)
                self._bias(number, modes, options.time_ns, "biasing")
                gathered.add_round(RoundModel.read(self._files.model(number), modes))
                self.states, self.rows = gathered.judge(thermal_energy(options.temperature))
                model = gathered.measure_change(self.rows)
                self._tell_turned_amides(number, gathered)
                self._files.write_round(number, model, self.rows)
                self._files.write_rounds(self.rows, gathered.models)
            self.reason = self._reason(number)
            folder = self._files.round(number)
            yield AdaptationProgress(number, folder, self.rows, model, self.states, self.reason)
            if self.reason is not None:
                return

    def _tell_turned_amides(self, number: int, gathered: GatheredFrames) -> None:
        """Warns of peptide bonds that the bias of a round has turned."""
        for name, frames in gathered.turned_amides(number).items():
            if self._warn is not None:
                self._warn(
                    f"round {number}: the amide bond {name} has turned (cis or trans) in {frames} "
                    "frames, which stay among the frames of the loop: give a lower `fill`, or "
                    "start anew with longer unbiased data"
                )

    def _reason(self, number: int) -> str | None:
        """The reason to end the loop with a round; None where it continues."""
        if self.chart is Chart.TORSION:
            change = self.models[-1].free_energy_change
            crossed = self.rows[-1].crossings > 0
            if change is not None and change <= self.options.tolerance and crossed:
                return (
                    f"The loop ended after round {number}: it changed the free energies along the "
                    f"torsions by {change:.2g} kJ/mol, within the tolerance of "
                    f"{self.options.tolerance:g} kJ/mol."
                )
        elif not still_growing(self.rows, self.options.growth):
            return (
                f"The loop ended after round {number}: twice in a row crossings per ns did not "
                f"exceed those of the best earlier round by {self.options.growth:.0%}, and no new "
                "state came."
            )
        if number == self.options.rounds:
            return f"The loop ended after {number} rounds, the most that were allowed."
        return None

    def _simulated(self) -> TrajectoryData:
        """The frames of the unbiased run that a loop without data begins with."""
        options = self.options
        total = 1000.0 * options.start_ns
        file = simulate_start(
            self._files,
            self._molecule,
            options.start_ns,
            options.timestep_fs,
            options.temperature,
            options.seed,
            self._platform,
            lambda time: self._tell(StageProgress(0, "simulating", time, total, "ps")),
        )
        return self._read([str(file)])

    def _train(self, number: int, gathered: GatheredFrames) -> None:
        def show(step: int, steps: int, best: float | None) -> None:
            self._tell(StageProgress(number, "training", step, steps, "steps", best))

        self._learner.learn(self._files, number, gathered, show, self._warn)

    def _modes_of(self, number: int, gathered: GatheredFrames) -> list[int]:
        """The modes to bias in a round."""
        if self._chosen is not None:
            return self._chosen
        return self._learner.modes_to_bias(self._files, number, gathered)

    def _bias(self, number: int, modes: list[int], time_ns: float, stage: str) -> None:
        """The biased run of a round, or the rest of it."""
        model = RoundModel.read(self._files.model(number), modes)

        def show(bias: BiasProgress) -> None:
            self._tell(
                StageProgress(
                    number, stage, bias.time_ps, bias.total_ps, "ps", model=model, bias=bias
                )
            )

        folder = self._files.bias(number)
        with warnings.catch_warnings():
            # a round leaves the frames that its model knows; that is its purpose
            warnings.simplefilter("ignore", DataWarning)
            metadynamics(
                self._files.model(number),
                self._molecule,
                options=self.options.metadynamics(number, modes, time_ns, self.chart),
                folder=folder,
                resume=folder.exists(),
                progress=show,
                warn=self._warn,
            )

    def _read(self, files: Sequence[str]) -> TrajectoryData:
        """Frames of trajectory files of all atoms."""
        atoms = self.options.atoms
        return read_trajectories(files, self._topology, atoms, progress=self._count_frames)

    def _count_frames(self, frames: int) -> None:
        self._frames_read += frames
        self._tell(StageProgress(self._current, "reading", self._frames_read, None, "frames"))

    def _tell(self, stage: StageProgress) -> None:
        if self._progress is not None:
            self._progress(stage)

    def _record(
        self,
        given: list[str],
        data: TrajectoryData | str | Path | Sequence[str | Path] | None,
    ) -> dict[str, Any]:
        """The settings that a resumed loop must share."""
        record: dict[str, Any] = {
            "command": "adapt",
            "trajectories": given,
            **self._molecule.source,
            **self.options.settings(self.chart),
        }
        if isinstance(data, TrajectoryData):
            record["data_sha256"] = hashlib.sha256(data.positions.tobytes()).hexdigest()
        return record


def _listed(data: str | Path | Sequence[str | Path]) -> list[str]:
    """Paths as a list of strings."""
    return [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
