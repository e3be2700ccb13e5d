"""`symplectic-cv adapt`: rounds of training, biasing, and training again."""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np

from openmm_plugin.biasing.adaptation import Adaptation
from openmm_plugin.biasing.adaptation_options import AdaptationOptions
from openmm_plugin.biasing.adaptation_progress import AdaptationProgress, StageProgress
from openmm_plugin.biasing.metadynamics_options import AUTO
from openmm_plugin.systems import MolecularSystem, load_system
from symplectic_cv.adaptation.round_folders import SHOWN_FREQUENCIES, RoundModel
from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.bias.states import describe_states
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import Bar, console, note, progress_bar, warn
from symplectic_cv.cli.metadynamics import describe_bias
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.reports.adaptation_report import draw_rounds, write_adaptation_report
from symplectic_cv.reports.run_report import draw_biased_run

DEFAULT = AdaptationOptions


class AdaptChart(str, Enum):
    """The choices of --chart."""

    AUTO = AUTO
    TORSION = Chart.TORSION.value
    CARTESIAN = Chart.CARTESIAN.value


@with_threads
def adapt(
    *trajectories: Annotated[
        str,
        argument(
            "TRAJ",
            help="Trajectories of all atoms of the system to begin with. Default: a short "
            "unbiased run is made.",
        ),
    ],
    system: Annotated[
        Path | None, option("--system", help="The system.xml of the molecule.")
    ] = None,
    output: o.Output = Path("adapt"),
    top: Annotated[
        Path | None,
        option(
            "--top", help="PDB file of the system's atoms. Default: topology.pdb beside --system."
        ),
    ] = None,
    trust_system: o.TrustSystem = False,
    atoms: o.Atoms = None,
    chart: Annotated[
        AdaptChart,
        option(
            help="Coordinates that the modes are functions of: torsion, cartesian for a flow in "
            "the Eckart frame, or auto: torsions where two or more bonds turn freely and no option "
            "of the flow is given."
        ),
    ] = AdaptChart.AUTO,
    order: Annotated[
        int,
        option(help="Highest harmonic of a torsion, 1 to 3, in modes of torsions."),
    ] = DEFAULT.order,
    amides: Annotated[
        bool,
        option(
            "--amides",
            help="Let torsions of peptide and amide bonds take part in modes of torsions; a bias on"
            " them turns the bonds to cis.",
        ),
    ] = DEFAULT.amides,
    rounds: Annotated[
        int, option(at_least=1, help="Largest number of rounds, at least 1.")
    ] = DEFAULT.rounds,
    time_ns: Annotated[
        float, option(help="Length of the biased run of each round in ns.")
    ] = DEFAULT.time_ns,
    final_ns: Annotated[
        float,
        option(
            at_least=0.0,
            help="Time in ns by which the run of the best round is extended at the end.",
        ),
    ] = DEFAULT.final_ns,
    start_ns: Annotated[
        float,
        option(help="Length in ns of the unbiased run that is made where no trajectory is given."),
    ] = DEFAULT.start_ns,
    modes: Annotated[
        list[str] | None,
        option(
            metavar="auto|K [K...]",
            help="Modes to bias. Default: auto, the three slowest modes of torsions, and of a flow "
            "the two or three below the widest gap in frequency.",
        ),
    ] = None,
    flatten: Annotated[
        float | None,
        option(
            at_least=0.0,
            at_most=1,
            help="Power between 0 and 1: in training a frame has the weight density^(−flatten), "
            "by its density along the slow modes of the round before; 0 weights all frames "
            "equally. With torsions it is the unbiased density. Default: 0.8 for torsions, 0.5 for "
            "a flow.",
        ),
    ] = DEFAULT.flatten,
    tolerance: Annotated[
        float,
        option(
            metavar="KJ",
            help="With torsions, the rounds end when one changes the free energies along all "
            "torsions by less than this, in kJ/mol.",
        ),
    ] = DEFAULT.tolerance,
    growth: Annotated[
        float,
        option(
            help="With a flow, the smallest relative growth of the crossings per ns with which "
            "the rounds go on."
        ),
    ] = DEFAULT.growth,
    steps: Annotated[
        int, option(help="Number of optimizer steps of each training.")
    ] = DEFAULT.steps,
    batch: Annotated[int, option(help="Number of frames per step.")] = DEFAULT.batch,
    layers: Annotated[int, option(help="Number of coupling layers.")] = DEFAULT.layers,
    hidden: Annotated[int, option(help="Number of units in each hidden layer.")] = DEFAULT.hidden,
    bias_factor: Annotated[float, option(help="Bias factor γ, above 1.")] = DEFAULT.bias_factor,
    height: Annotated[float, option(help="Height of the first hill in kJ/mol.")] = DEFAULT.height,
    fill: Annotated[
        float,
        option(
            metavar="KJ",
            help="Bias offset c(t) in kJ/mol at which a round adds no more hills: enough to "
            "cross barriers of this height, and too little to change what should stay as it"
            " is (peptide bonds turn to cis from 40 to 50 kJ/mol on).",
        ),
    ] = DEFAULT.fill,
    width: Annotated[
        list[str],
        option(
            metavar="auto|W [W...]",
            help="Width of the hills, one number or one for each mode, or auto; see metadynamics.",
        ),
    ] = [AUTO],  # noqa: B006 - the parser reads the default
    pace_ps: Annotated[
        float,
        option(
            "--pace",
            help="Time between hills, and between frames, in ps; a whole number of time steps.",
        ),
    ] = DEFAULT.pace_ps,
    range_: Annotated[
        tuple[float, float] | None,
        option(
            "--range",
            metavar="LOW HIGH",
            help="Lowest and highest value of the modes on the grid, at least -3 to 3; walls "
            "keep them inside. Default: the bounds of modes of torsions, -9 to 9 for a flow.",
        ),
    ] = DEFAULT.range,
    timestep_fs: o.Timestep = DEFAULT.timestep_fs,
    backend: o.BackendOption = o.Backend.AUTO,
    platform: o.Platform = None,
    precision: o.Precision = None,
    device_index: o.DeviceIndex = None,
    temperature: o.Temperature = DEFAULT.temperature,
    seed: o.Seed = DEFAULT.seed,
    device: o.DeviceOption = o.Device.AUTO,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Alternate training and biasing until the free energies converge.

    A model that was trained on one basin does not know the others. Each round therefore trains on
    all frames so far, with larger weights where frames are few, and biases its slowest modes. With
    modes of torsions the rounds end when the free energies along the torsions no longer change;
    with a flow when crossings between the metastable states no longer grow. Then all rounds are
    combined into free energies by exact weights. Writes round-1, round-2, … each
    with model/ and metadynamics/, rounds.csv, free_energy/ and report.html.

    Example: symplectic-cv adapt md/trajectory.xtc --system md/system.xml --rounds 3 --time-ns 5
    """
    if system is None:
        raise OptionError("name the molecule with `system` system.xml")
    options = AdaptationOptions(
        chart=chart.value,
        order=order,
        amides=amides,
        tolerance=tolerance,
        rounds=rounds,
        time_ns=time_ns,
        final_ns=final_ns,
        start_ns=start_ns,
        modes=modes or AUTO,
        flatten=flatten,
        growth=growth,
        steps=steps,
        batch=batch,
        layers=layers,
        hidden=hidden,
        bias_factor=bias_factor,
        height=height,
        fill=fill,
        width=width,
        pace_ps=pace_ps,
        range=range_,
        timestep_fs=timestep_fs,
        backend=backend.value,
        platform=platform,
        precision=precision,
        device_index=device_index,
        temperature=temperature,
        seed=seed,
        device=device.value,
        atoms=atoms,
    )
    with _Stages(final_ns) as stages:
        named: MolecularSystem | Path = system
        if trust_system:
            named, top = load_system(system, top, trust_system), None
        loop = Adaptation(
            named, top, trajectories or None, options, output, resume, stages.show, warn
        )
        for progress in loop:
            stages.close()
            _show_round(loop, progress)
        result = loop.free_energies()
    _report(loop, result)


class _Stages:
    """Prints how far a loop has come: a line for each round, a progress bar for each stage."""

    def __init__(self, final_ns: float) -> None:
        self._final_ns = final_ns
        self._round = 0
        self._stage = ""
        self._bar: Bar | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the progress bar."""
        self._stack.close()
        self._stage = ""

    def show(self, stage: StageProgress) -> None:
        """Moves the progress bar; begins another one with each stage."""
        if stage.stage != self._stage:
            self.close()
            self._announce(stage)
            self._stage = stage.stage
            total = None if stage.total is None else round(stage.total)
            self._bar = self._stack.enter_context(progress_bar(stage.stage, total, stage.unit))
        assert self._bar is not None
        self._bar.to(round(stage.done), _status(stage))

    def _announce(self, stage: StageProgress) -> None:
        if stage.stage == "simulating":
            console.rule(f"unbiased run of {(stage.total or 0.0) / 1000.0:g} ns", align="left")
        elif stage.stage == "extending":
            title = f"{self._final_ns:g} ns more with the modes of round {stage.round}"
            console.rule(title, align="left")
        elif stage.stage in ("training", "biasing") and stage.round != self._round:
            self._round = stage.round
            console.rule(f"round {stage.round}", align="left")
        if stage.stage == "biasing" and stage.model is not None:
            note(_describe_model(stage.model))
        if stage.bias is not None:
            bias = stage.bias
            note(f"{bias.n_atoms} atoms on {bias.platform}; {describe_bias(bias.record)}")


def _status(stage: StageProgress) -> str:
    """The text behind a progress bar."""
    if stage.validation_nll is not None and np.isfinite(stage.validation_nll):
        return f"best validation NLL {stage.validation_nll:.2f} nats"
    if stage.bias is not None and stage.bias.modes is not None:
        return " ".join(f"{value:+.2f}" for value in stage.bias.modes)
    return ""


def _describe_model(model: RoundModel) -> str:
    slowest = ", ".join(f"{omega:.2f}" for omega in model.omega[:SHOWN_FREQUENCIES])
    text = f"slowest frequencies: {slowest} rad/ps"
    if model.validation_nll is None:
        return f"modes of torsions; {text}"
    return f"validation NLL of phase space: {model.validation_nll:.2f} nats; {text}"


def _show_round(loop: Adaptation, progress: AdaptationProgress) -> None:
    """One line for each source of frames, and the figures of a round that is new."""
    if progress.states is not None:
        note(describe_states(progress.states))
        for row in progress.rows:
            name = f"round {row.round}" if row.round else "the start"
            rate = "" if np.isnan(row.crossings_per_ns) else f" ({row.crossings_per_ns:.1f} per ns)"
            note(f"{name}: {row.crossings} crossings{rate}, {row.states} states visited")
        draw_biased_run(progress.folder / "metadynamics")
        draw_rounds(loop.folder, progress.rows, loop.models)
    change = progress.model.free_energy_change
    if change is not None:
        note(f"change of the free energies along the torsions: {change:.2g} kJ/mol")
    if progress.reason is not None:
        note(progress.reason)


def _report(loop: Adaptation, result: Reweighted) -> None:
    """The figures of the whole loop, its report, and the free energies of its states."""
    assert loop.states is not None
    assert loop.reason is not None
    if loop.options.final_ns > 0.0:
        draw_biased_run(loop.folder / f"round-{loop.best}" / "metadynamics")
    report = write_adaptation_report(
        loop.folder, loop.rows, loop.models, loop.best, loop.reason, loop.states, result
    )
    for name, found in result.differences.items():
        note(
            f"G({name}) − G(state 0) = {found.value:.2f} ± {found.error:.2f} kJ/mol (95 %: ± "
            f"{found.interval:.2f})"
        )
    note(f"report: {report}")
