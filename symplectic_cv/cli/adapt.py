"""`symplectic-cv adapt`: rounds of training, biasing, and training again."""

from __future__ import annotations

import io
import itertools
import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from openmm_plugin.running import simulation
from openmm_plugin.running.checkpoints import steps_of
from openmm_plugin.systems import MolecularSystem, choose_platform, load_system
from openmm_plugin.versions import choose_backend
from symplectic_cv.adaptation import progress as adaptation
from symplectic_cv.adaptation.progress import Progress, RoundModel
from symplectic_cv.adaptation.rounds import SUMMARY, Known, Loop
from symplectic_cv.analysis.latent import latent_frames
from symplectic_cv.bias.states import States, describe_states
from symplectic_cv.cli import options as o
from symplectic_cv.cli.biased import AUTO, Backend, bias_options
from symplectic_cv.cli.console import console, note, progress_bar
from symplectic_cv.cli.metadynamics import metadynamics
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.train import train
from symplectic_cv.data.formats import load_topology
from symplectic_cv.data.split import SMALLEST_SET, contiguous_split
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import OptionError, OutputError, TrajectoryError
from symplectic_cv.files.atomic import file_digest, write_atomically
from symplectic_cv.files.run_folder import require_free, start_run
from symplectic_cv.models.model_folder import CONFIG, load_model, read_config
from symplectic_cv.models.molecular_model import check_modes
from symplectic_cv.molecule import select_atoms
from symplectic_cv.reports.adaptation_report import draw_rounds, write_adaptation_report
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.units import thermal_energy

TRAINING = TrainingOptions()
REPORT = "report.html"
START_STRIDE_PS = 0.2
DATA_REACH = 3.0
"""What a grid has to hold to either side of 0: the modes have unit variance in the training data,
and each training chooses their signs anew."""


def adapt(
    *trajectories: Annotated[
        str,
        argument(
            "TRAJ",
            help="Where to begin: trajectories of all atoms of the system (default: a short "
            "unbiased run is made).",
        ),
    ],
    system: Annotated[Path | None, option("--system", help="system.xml of the molecule.")] = None,
    output: o.Output = Path("adapt"),
    top: Annotated[
        Path | None,
        option(
            "--top", help="PDB of the system's atoms (default: topology.pdb beside the system)."
        ),
    ] = None,
    atoms: o.Atoms = None,
    rounds: Annotated[int, option(at_least=1, help="Rounds at most.")] = 3,
    time_ns: Annotated[float, option(help="Biased dynamics of each round, ns.")] = 5.0,
    final_ns: Annotated[
        float,
        option(at_least=0.0, help="Added to the run of the best round at the end, ns."),
    ] = 0.0,
    start_ns: Annotated[float, option(help="Unbiased run where no trajectory is given, ns.")] = 1.0,
    modes: Annotated[
        list[str] | None,
        option(
            metavar="auto|K [K...]",
            help="Modes to bias; auto (the default): those below the widest gap in frequency, two "
            "or three.",
        ),
    ] = None,
    flatten: Annotated[
        float,
        option(
            at_least=0.0,
            at_most=1,
            help="Frames weigh density^(−flatten) in training, by their density along the slow "
            "modes known so far; 0: all the same.",
        ),
    ] = adaptation.FLATTEN,
    growth: Annotated[
        float,
        option(help="Stop when crossings per ns grow by less than this part."),
    ] = adaptation.LEAST_GROWTH,
    steps: Annotated[int, option(help="Optimizer steps of each training.")] = TRAINING.steps,
    batch: Annotated[int, option(help="Frames per step.")] = TRAINING.batch,
    layers: Annotated[int, option(help="Coupling layers.")] = TRAINING.layers,
    hidden: Annotated[int, option(help="Width of the hidden layers.")] = TRAINING.hidden,
    bias_factor: Annotated[float, option(help="Bias factor γ.")] = 15.0,
    height: Annotated[float, option(help="Height of the first hill, kJ/mol.")] = 1.0,
    fill: Annotated[
        float,
        option(
            metavar="KJ",
            help="Hills of a round end when c(t) reaches so many kJ/mol: enough for barriers of "
            "this height, and too little for what should stay as it is (peptide bonds turn to cis "
            "from 40 to 50 kJ/mol on).",
        ),
    ] = 40.0,
    width: Annotated[
        list[str],
        option(metavar="auto|W [W...]", help="Width of a hill, as for metadynamics."),
    ] = [AUTO],  # noqa: B006 - the parser reads the default
    pace: Annotated[
        float,
        option(help="Time between hills, and between frames, ps; whole time steps."),
    ] = 0.2,
    grid: Annotated[
        tuple[float, float],
        option(
            "--range",
            metavar="LOW HIGH",
            help="Range of the grid, at least -3 to 3; walls at its ends.",
        ),
    ] = (-9.0, 9.0),
    timestep_fs: Annotated[float, option(help="Time step, fs.")] = 2.0,
    backend: Annotated[Backend, option(help="How OpenMM evaluates the modes.")] = Backend.AUTO,
    platform: Annotated[
        str | None, option(help="OpenMM platform (default: the fastest for this size).")
    ] = None,
    temperature: o.Temperature = 300.0,
    seed: o.Seed = 0,
    device: o.DeviceOption = o.Device.AUTO,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Rounds of training, biasing the slowest modes, and training again.

    A model of one basin cannot know another: each round learns from all that was seen so far, most
    from where frames are few. Stops when the crossings between the metastable states of the modes
    no longer grow; then combines all rounds into free energies by exact weights. Writes round-1,
    round-2, … each with model/ and metadynamics/, rounds.csv, free_energy/ and report.html.

    Example: symplectic-cv adapt md/trajectory.xtc --system md/system.xml --rounds 3 --time-ns 5
    """
    torch.set_num_threads(threads)
    kt = thermal_energy(temperature)
    if system is None:
        raise OptionError("name the molecule with --system system.xml")
    if not resume:
        require_free(output)
    # what is wrong with options and molecule is told before anything is made or learned
    chosen = _modes(modes)
    _check_loop(final_ns, growth, grid)
    bias: dict[str, Any] = {
        "bias_factor": bias_factor,
        "height": height,
        "fill": fill,
        "width": width,
        "pace": pace,
        "grid": grid,
        "timestep_fs": timestep_fs,
        "temperature": temperature,
    }
    bias_options(
        None if chosen is None else len(chosen),
        choose_backend(backend.value),
        time_ns=time_ns,
        seed=seed,
        **bias,
    )
    training = TrainingOptions(
        steps=steps, batch=batch, layers=layers, hidden=hidden, seed=seed, device=device.value
    )
    molecule = load_system(system, top)
    choose_platform(platform, molecule.topology.getNumAtoms())
    top = top or system.with_name("topology.pdb")
    dimension = 3 * select_atoms(load_topology(top), atoms).n_atoms - 6
    if chosen is not None:
        check_modes(chosen, dimension)
    given = list(trajectories)
    if given:
        _check_given(read_trajectories(given, top, atoms).lengths, dimension)
    else:
        _check_start(start_ns, timestep_fs, dimension)
    settings = {
        "command": "adapt",
        "trajectories": given,
        "system_sha256": file_digest(system),
        "atoms": atoms,
        "time_ns": time_ns,
        "start_ns": start_ns,
        "modes": chosen,
        "flatten": flatten,
        "steps": steps,
        "batch": batch,
        "layers": layers,
        "hidden": hidden,
        "bias_factor": bias_factor,
        "height": height,
        "fill": fill,
        "width": width,
        "pace_ps": pace,
        "range": list(grid),
        "timestep_fs": timestep_fs,
        "temperature_k": temperature,
        "seed": seed,
    }
    start_run(output, settings, resume)
    loop = Loop(output, given, top)
    if not given:
        loop = Loop(output, [str(output / "start" / "trajectory.xtc")], top)
        _simulate_start(loop, molecule, start_ns, timestep_fs, temperature, seed, platform)

    def bias_round(number: int, biased: list[int], until_ns: float) -> None:
        folder = loop.bias(number)
        metadynamics(
            loop.round(number) / "model",
            system=system,
            output=folder,
            top=top,
            modes=biased,
            time_ns=until_ns,
            backend=backend,
            platform=platform,
            seed=seed + number - 1,
            resume=folder.exists(),
            **bias,
        )

    models: list[RoundModel] = []
    progress: list[Progress] = []
    reason = f"The loop ended after {rounds} rounds (--rounds)."
    for number in range(1, rounds + 1):
        folder = loop.round(number)
        before = _read_summary(folder)
        if before is not None:
            model, progress = before
            models.append(model)
        else:
            (output / REPORT).unlink(missing_ok=True)  # it comes last, and is of all rounds
            console.rule(f"round {number}", align="left")
            _train_round(loop, number, atoms, temperature, flatten, training, device, threads)
            biased = _biased_modes(folder / "model", chosen)
            bias_round(number, biased, time_ns)
            models.append(_round_model(folder / "model", biased))
            known = _read_rounds(loop, models, atoms)
            states, progress = known.judge(kt)
            _write_summary(folder, models[-1], progress)
            _tell(progress, states)
            adaptation.write_rounds(output / "rounds.csv", progress, models)
            draw_rounds(output, progress, models)
        if not adaptation.still_growing(progress, growth):
            reason = (
                f"The loop ended after round {number}: twice in a row crossings per ns did not "
                f"exceed those of the best earlier round by {growth:.0%}, and no new state came."
            )
            break
    note(reason)
    best = adaptation.best_round(progress)
    if final_ns > 0.0:
        console.rule(f"{final_ns:g} ns more with the modes of round {best}", align="left")
        bias_round(best, models[best - 1].modes, time_ns + final_ns)
    known = _read_rounds(loop, models, atoms)
    states, progress = known.judge(kt)
    adaptation.write_rounds(output / "rounds.csv", progress, models)
    result = known.free_energies(best, progress, states, seed)
    final = output / "free_energy"
    shutil.rmtree(final, ignore_errors=True)
    result.save(final)
    write_adaptation_report(output, progress, models, best, reason, states, result)
    for name, found in result.differences.items():
        note(
            f"G({name}) − G(state 0) = {found.value:.2f} ± {found.error:.2f} kJ/mol (95 %: ± "
            f"{found.interval:.2f})"
        )
    note(f"report: {output / REPORT}")


def _modes(given: list[str] | None) -> list[int] | None:
    """--modes as numbers; None for auto."""
    if not given or given == [AUTO]:
        return None
    try:
        return [int(text) for text in given]
    except ValueError as error:
        raise OptionError(f"--modes {' '.join(given)}: neither {AUTO} nor numbers") from error


def _check_start(time_ns: float, timestep_fs: float, dimension: int) -> None:
    """Raises OptionError for a starting run with too few frames to learn a model from."""
    step = 1e-3 * timestep_fs
    stride = steps_of(START_STRIDE_PS, step, "stride")
    frames = steps_of(time_ns * 1000.0, step, "--start-ns") // stride
    least = next(n for n in itertools.count(SMALLEST_SET) if _learnt_from(n) > dimension)
    if frames < least:
        raise OptionError(
            f"--start-ns {time_ns:g} gives {frames} frames, one each {stride * step:g} ps; "
            f"{dimension} modes take at least {least}: give "
            f"{1e-3 * math.ceil(least * stride * step):g} or more"
        )


def _check_given(lengths: list[int], dimension: int) -> None:
    """Raises TrajectoryError for trajectories with too few frames to learn a model from."""
    if _learnt_from(*lengths) <= dimension:
        raise TrajectoryError(
            f"{sum(lengths)} frames, a tenth of them for validation, cannot determine {dimension} "
            f"internal coordinates: better {200 * dimension} frames or more"
        )


def _learnt_from(*lengths: int) -> int:
    """How many frames of runs of these lengths are for training, not for validation."""
    return len(contiguous_split(lengths)[0])


def _check_loop(final_ns: float, growth: float, grid: tuple[float, float]) -> None:
    """Raises OptionError for options of the loop itself that make no sense."""
    for flag, value in (("--final-ns", final_ns), ("--growth", growth)):
        if not 0.0 <= value < float("inf"):
            raise OptionError(f"{flag} must not be negative or infinite; got {value}")
    low, high = grid
    if low < high and not low <= -DATA_REACH < DATA_REACH <= high:
        raise OptionError(
            f"--range {low:g} {high:g} must hold {-DATA_REACH:g} to {DATA_REACH:g}: every mode has "
            "unit variance about 0 in the training data, and either sign from round to round"
        )


def _read_rounds(loop: Loop, models: list[RoundModel], atoms: str | None) -> Known:
    with progress_bar("reading", None, "frames") as bar:
        return Known.read(loop, models, atoms, bar.advance)


def _biased_modes(model: Path, chosen: list[int] | None) -> list[int]:
    omega = np.array(read_config(model)["omega_rad_per_ps"])
    return adaptation.modes_to_bias(omega) if chosen is None else chosen


def _simulate_start(
    loop: Loop,
    molecule: MolecularSystem,
    time_ns: float,
    timestep_fs: float,
    temperature: float,
    seed: int,
    platform: str | None,
) -> None:
    """A short unbiased run to begin with, or the rest of one."""
    folder = loop.folder / "start"
    done = folder / SUMMARY
    if done.is_file():
        return
    folder.mkdir(exist_ok=True)
    simulation.write_structure(molecule, folder)
    console.rule(f"unbiased run of {time_ns:g} ns", align="left")
    with progress_bar("simulating", round(time_ns * 1000), "ps") as bar:
        frames = simulation.simulate(
            molecule,
            folder,
            time_ns,
            START_STRIDE_PS,
            timestep_fs,
            temperature,
            seed,
            choose_platform(platform, molecule.topology.getNumAtoms()),
            progress=lambda step: bar.to(round(step * timestep_fs * 1e-3)),
        )
    record = {"time_ns": time_ns, "frames": frames}
    write_atomically(done, (json.dumps(record) + "\n").encode())


def _train_round(
    loop: Loop,
    number: int,
    atoms: str | None,
    temperature: float,
    flatten: float,
    options: TrainingOptions,
    device: o.Device,
    threads: int,
) -> None:
    """Trains the model of a round on all that is known before it, unless it is there."""
    folder = loop.round(number)
    if (folder / "model" / CONFIG).is_file():
        return
    folder.mkdir(exist_ok=True)
    sources = loop.trajectories(number - 1)
    weights = None
    if number > 1:
        data = read_trajectories(sources, loop.top, atoms)
        newest = load_model(loop.round(number - 1) / "model")
        weights = folder / "weights.npy"
        buffer = io.BytesIO()
        slow = latent_frames(newest, data).modes[:, : adaptation.MOST_MODES]
        np.save(buffer, adaptation.flattening_weights(slow, flatten))
        write_atomically(weights, buffer.getvalue())
    train(
        *(str(source) for source in sources),
        output=folder / "model",
        top=loop.top,
        atoms=atoms,
        temperature=temperature,
        steps=options.steps,
        batch=options.batch,
        layers=options.layers,
        hidden=options.hidden,
        weights=weights,
        seed=options.seed + number - 1,
        device=device,
        threads=threads,
        resume=(folder / "model").exists(),
    )


def _round_model(folder: Path, biased: list[int]) -> RoundModel:
    config = read_config(folder)
    return RoundModel(
        validation_nll=float(config["training"]["validation_nll_nats"]),
        omega=[float(omega) for omega in config["omega_rad_per_ps"]],
        modes=list(biased),
    )


def _write_summary(folder: Path, model: RoundModel, progress: list[Progress]) -> None:
    """The last file of a round: one that has it is complete."""
    record = {"model": asdict(model), "progress": [row.to_json() for row in progress]}
    write_atomically(folder / SUMMARY, (json.dumps(record, indent=1) + "\n").encode())


def _read_summary(folder: Path) -> tuple[RoundModel, list[Progress]] | None:
    path = folder / SUMMARY
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
        model = RoundModel(**record["model"])
        return model, [Progress.from_json(row) for row in record["progress"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path}: damaged ({error}); remove it to judge the round anew"
        ) from error


def _tell(progress: list[Progress], states: States) -> None:
    """One line for each source of frames."""
    note(describe_states(states))
    for row in progress:
        name = f"round {row.round}" if row.round else "the start"
        rate = "" if np.isnan(row.crossings_per_ns) else f" ({row.crossings_per_ns:.1f} per ns)"
        note(f"{name}: {row.crossings} crossings{rate}, {row.states} states visited")
