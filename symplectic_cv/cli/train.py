"""`symplectic-cv train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from symplectic_cv.charts.chart_choice import torsion_advice
from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.torsion_basis import check_order
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.errors import translated
from symplectic_cv.cli.frames import (
    read_frames,
    require_count,
    tell,
    tell_weights,
    weights_of_frames,
)
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.data.frame_weights import read_masses
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.training.check import report_on_frames, report_on_training
from symplectic_cv.training.complete import is_trained, require_same_torsions, require_same_training
from symplectic_cv.training.fit import fit, prepare, train_in_folder
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.options import ENERGY_WEIGHT, TrainingOptions
from symplectic_cv.training.result import HistoryRow, InternalRow, TrainingResult
from symplectic_cv.training.torsion import TorsionResult, fit_torsion_modes
from symplectic_cv.training.torsion_density import TorsionDensityResult
from symplectic_cv.units import thermal_energy

DEFAULT = TrainingOptions()
INTERNAL = TrainingOptions(chart=Chart.INTERNAL)


@with_threads
def train(
    *trajectories: o.Trajectory,
    output: o.Output = Path("model"),
    top: o.Top = None,
    atoms: o.Atoms = None,
    temperature: o.Temperature = 300.0,
    steps: Annotated[
        int | None,
        option(
            help=f"Largest number of optimizer steps. Default: {DEFAULT.steps}, or "
            f"{INTERNAL.steps} with --chart internal."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        option(
            help=f"Number of frames per step. Default: {DEFAULT.batch}, or {INTERNAL.batch} with "
            "--chart internal."
        ),
    ] = None,
    chart: Annotated[
        Chart,
        option(
            help="Coordinates that the modes are functions of: Cartesian ones for collective "
            "variables, internal ones (bonds, angles, torsions) for sampling, or torsions alone, "
            "for collective variables of flexible molecules in seconds."
        ),
    ] = DEFAULT.chart,
    coupling: Annotated[
        Coupling | None,
        option(
            help="Kind of coupling layer; splines are more expressive and slower. Default: "
            "affine; with --chart internal spline, or autoregressive where there are few "
            "--layers."
        ),
    ] = None,
    layers: Annotated[int, option(help="Number of coupling layers.")] = DEFAULT.layers,
    hidden: Annotated[int, option(help="Number of units in each hidden layer.")] = DEFAULT.hidden,
    bins: Annotated[int, option(help="Number of bins of each spline.")] = DEFAULT.bins,
    momenta: Annotated[
        Momenta, option(help="Distribution that momenta are drawn from in training.")
    ] = DEFAULT.momenta,
    momentum_weight: Annotated[
        float | None,
        option(
            help="Weight of the momentum part of the loss; 1 gives the paper's negative "
            "log-likelihood. Default: 1, or 0 (likelihood of structures alone) with --chart"
            " internal."
        ),
    ] = None,
    energy_weight: Annotated[
        float | None,
        option(
            help="Weight of the frames' energies beside their likelihood. Default: 1 with "
            "--system, otherwise 0."
        ),
    ] = None,
    system: Annotated[
        Path | None,
        option(
            "--system",
            help="A system.xml without constraints; the model then also learns from energies. "
            "Only with --chart internal.",
        ),
    ] = None,
    density: Annotated[
        bool,
        option(
            "--density",
            help="With --chart torsion, also train the density of torsions, bonds and angles, in "
            "minutes; the model then has a likelihood, and serves sample, path and thermodynamics.",
        ),
    ] = False,
    trust_system: o.TrustSystem = False,
    order: Annotated[
        int,
        option(help="Highest harmonic of a torsion, 1 to 3; only with --chart torsion."),
    ] = 2,
    weights: Annotated[
        str | None,
        option(
            metavar="FILE[:COLUMN]",
            help="One weight per frame, for biased data: a .npy file, text with one number per "
            "line, or a column of a CSV table or of a COLVAR file of PLUMED. Default column: "
            "weight; of a bias V it is exp(V/kT).",
        ),
    ] = None,
    masses: Annotated[
        str | None,
        option(
            metavar="M|FILE",
            help="Mass in Da of all atoms, or a file with one per atom of the topology, for beads "
            "without an element. Default: the masses of the elements.",
        ),
    ] = None,
    check: Annotated[
        bool,
        option("--check", help="Read and check everything, report it, and train nothing."),
    ] = False,
    strict: o.Strict = False,
    length_unit: o.LengthUnitOption = None,
    mdshare_folder: o.MdshareFolder = Path("mdshare"),
    mdshare_catalogue: o.MdshareCatalogue = None,
    seed: o.Seed = DEFAULT.seed,
    device: o.DeviceOption = o.Device.AUTO,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Train a neural canonical transformation on trajectory files.

    Removes rigid motion from every frame in the Eckart frame, and fits a symplectic flow to a
    harmonic latent space by maximum likelihood. Writes model.safetensors, config.json and
    history.csv.

    With --chart internal the flow transforms bonds, angles and torsions instead. Such a model is
    for the command sample. It needs all atoms (--atoms all) of a simulation without constraints
    (simulate --flexible).

    With --chart torsion no flow is trained. The modes are the functions of the torsions with the
    least frequency. They are found in seconds from frames in any order, and biased by plain OpenMM
    and PLUMED forces. With --density a flow of all internal coordinates is trained as well, whose
    torsions are latent pendulums. The modes stay the same, and structures can be drawn at their
    values (sample --fix).

    Example: symplectic-cv train md/trajectory.xtc -o model
    """
    thermal_energy(temperature)
    if not (check or resume):
        require_free(output)
    complete = resume and is_trained(output)
    if density and chart is not Chart.TORSION:
        raise OptionError("`density` needs `chart='torsion'`; models of other charts have one")
    if chart is Chart.TORSION and not density:
        flow_options = {
            "steps": (steps, None),
            "batch": (batch, None),
            "coupling": (coupling, None),
            "layers": (layers, DEFAULT.layers),
            "hidden": (hidden, DEFAULT.hidden),
            "momentum_weight": (momentum_weight, None),
            "energy_weight": (energy_weight, None),
            "system": (system, None),
        }
        unused = next((name for name, (value, off) in flow_options.items() if value != off), None)
        if unused is not None:
            raise OptionError(f"`{unused}` has no meaning with `chart='torsion'`: leave it out")
    if chart is Chart.TORSION:
        check_order(order)
        if complete:
            require_same_torsions(output, order, temperature)
            note(f"{output}: this training is complete")
            return
    elif order != 2:
        raise OptionError(f"`order` {order} needs `chart='torsion'`")
    if energy_weight is None:
        energy_weight = DEFAULT.energy_weight if system is None else ENERGY_WEIGHT
    reading: dict[str, Any] = {
        "mdshare_folder": mdshare_folder,
        "mdshare_catalogue": mdshare_catalogue,
        "strict": strict,
        "length_unit": length_unit,
        "masses": None if masses is None else read_masses(masses),
    }
    if chart is Chart.TORSION and not density:
        data = read_frames(trajectories, top, atoms, reading)
        frame_weights = weights_of_frames(weights, data.n_frames, temperature)
        if check:
            tell(report_on_frames(data))
        folder = None if check else output
        options: dict[str, Any] = {"folder": folder, "resume": resume, "order": order}
        found = fit(data, temperature, chart, weights=frame_weights, **options)
        assert isinstance(found, TorsionResult)
        _tell_torsions(found, data.n_frames)
        note("nothing was written (`check`)" if check else f"model: {output}")
        return
    training_options = TrainingOptions(
        steps=steps,  # type: ignore[arg-type]  # None: the default of the chart
        batch=batch,  # type: ignore[arg-type]
        coupling=coupling,  # type: ignore[arg-type]
        layers=layers,
        hidden=hidden,
        bins=bins,
        momenta=momenta,
        momentum_weight=momentum_weight,  # type: ignore[arg-type]
        seed=seed,
        device=device.value,
        chart=chart,
        energy_weight=energy_weight,
    )
    if complete:
        require_same_training(output, training_options, temperature)
        note(f"{output}: this training is complete")
        return
    if system is not None and not energy_weight > 0.0:
        raise OptionError("`system` is for energies, but `energy_weight` is 0")
    require_count(trajectories, top, atoms, reading["masses"])
    data = read_frames(trajectories, top, atoms, reading)
    if check:
        tell(report_on_frames(data))
    frame_weights = weights_of_frames(weights, data.n_frames, temperature)
    modes: TorsionResult | None = None
    if density:
        modes = fit_torsion_modes(data, temperature, order, weights=frame_weights)
        _tell_torsions(modes, data.n_frames)
    note(
        f"{data.n_frames} frames of {data.molecule.n_atoms} atoms from {len(data.names)} run(s): "
        f"{3 * data.molecule.n_atoms - 6} {'coordinates' if density else 'modes'}"
    )
    # everything that bad data can break comes before the folder is made
    prepared = prepare(
        data,
        None,
        temperature,
        training_options,
        weights=frame_weights,
        energies=_energies(system, top, temperature, trust_system),
        system_sha256=file_digest(system),
    )
    if check:
        tell(report_on_training(prepared, data))
        note("all of this can be trained on; nothing was written (`check`)")
        return
    note(
        f"frame: smallest det A is {prepared.health.smallest:.3f} of the median "
        f"({data.locate(prepared.health.frame)})"
    )
    if frame_weights is not None:
        tell_weights(prepared.effective_frames, len(prepared.training))
    for message in prepared.warnings:
        warn(message)
    if chart is Chart.CARTESIAN:
        advice = torsion_advice(data.molecule, data.positions[0], prepared.health.near_limit)
        if advice is not None:
            note(translated(advice))
    with progress_bar("training", training_options.steps, "steps") as bar:
        best = float("inf")

        def show(step: int, row: HistoryRow | InternalRow | None) -> None:
            nonlocal best
            best = min(best, best if row is None else row.validation_nll)
            bar.to(step, "" if row is None else f"best validation NLL {best:.2f} nats")

        found = train_in_folder(prepared, output, resume, show, modes)
    result = found.training if isinstance(found, TorsionDensityResult) else found
    _tell_training(result, chart, output)


def _tell_training(result: TrainingResult, chart: Chart, output: Path) -> None:
    """Prints how well a model fits held-out frames, and its slowest frequencies."""
    if result.stopped_early:
        note("stopped early: the validation NLL had stopped falling; the best weights are kept")
    internal = chart is Chart.INTERNAL
    what_of = "structures" if internal else "phase space"
    start = "quasi-harmonic" if chart is Chart.CARTESIAN else "Gaussian"
    note(
        f"validation NLL of {what_of}: {result.validation_nll:.2f} nats "
        f"({start} start {result.gaussian_nll:.2f})"
    )
    if internal:
        note(f"model: {output} (for `sample` and `thermodynamics`)")
        return
    slowest = ", ".join(f"{float(omega):.2f}" for omega in result.model.omega[:6])
    if chart is Chart.TORSION:
        note(f"of structures alone: {result.validation_nll_configuration:.2f} nats")
        note(f"slowest latent frequencies: {slowest} rad/ps")
        note(f"model: {output} (for `sample`, `path` and `thermodynamics` too)")
        return
    note(f"slowest frequencies: {slowest} rad/ps")
    note(f"model: {output}")


def _tell_torsions(found: TorsionResult, n_frames: int) -> None:
    """Prints the slowest modes of torsions and what limits them."""
    model = found.model
    note(
        f"{n_frames} frames ({found.effective_frames:.0f} effective), {len(model.bonds)} rotatable "
        f"bonds, harmonics up to {model.order}"
    )
    for message in found.warnings:
        warn(translated(message))
    for mode, omega in enumerate(model.omega[:6]):
        carried = ", ".join(f"{name} {100 * share:.0f} %" for name, share in model.carried(mode))
        note(
            f"mode {mode}: ω = {omega:.2f} ± {model.omega_error[mode]:.2f} rad/ps (held out "
            f"{model.omega_held_out[mode]:.2f}), steepness {model.steepness[mode]:.1f}: {carried}"
        )


def _energies(
    system: Path | None, top: Path | None, temperature: float, trust_system: bool
) -> Callable[[EckartFrame], ReducedHamiltonian] | None:
    """Makes the Hamiltonian of --system in the frame of a model."""
    if system is None:
        return None
    from openmm_plugin.energies.hamiltonian import load_hamiltonian

    pdb = top if top is not None and top.suffix == ".pdb" else None
    return lambda frame: ReducedHamiltonian(
        load_hamiltonian(system, pdb, temperature, frame, trust_system=trust_system)
    )
