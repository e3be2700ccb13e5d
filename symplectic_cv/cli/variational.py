"""`symplectic-cv variational`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from symplectic_cv.analysis.thermodynamics import (
    FEWER_SAMPLES,
    RESULT,
    SAMPLES,
    default_samples,
)
from symplectic_cv.analysis.variational import estimate_variational
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.thermodynamics import report_estimate
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest
from symplectic_cv.files.run_folder import RUN, require_free
from symplectic_cv.flows.continuous import Integrator
from symplectic_cv.flows.options import Coupling, Flow, FlowOptions, Generator
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.library import find_hamiltonian
from symplectic_cv.reports.variational_report import write_variational_report
from symplectic_cv.training.variational import (
    DEFAULT_STEPS,
    VariationalOptions,
    VariationalRow,
    prepare_variational,
)
from symplectic_cv.training.variational_fit import train_variational_in_folder

FLOW = FlowOptions()
DEFAULT = VariationalOptions()


@with_threads
def variational(
    system: Annotated[
        str | None,
        argument(
            "SYSTEM",
            help="Analytic Hamiltonian: ringworld, harmonic-chain, double-well, "
            "lennard-jones-pair, or your own FILE.py:CLASS.",
        ),
    ] = None,
    /,
    *,
    output: o.Output = Path("model"),
    molecule: Annotated[
        Path | None,
        option(
            "--system",
            help="Molecule instead of an analytic Hamiltonian: an OpenMM system.xml without "
            "constraints.",
        ),
    ] = None,
    top: o.SystemTop = None,
    trust_system: o.TrustSystem = False,
    flow: Annotated[Flow, option(help="Kind of canonical transformation.")] = FLOW.flow,
    size: Annotated[
        int | None, option(help="Number of particles of a Hamiltonian of variable size.")
    ] = None,
    beta: Annotated[
        float,
        option(help="Inverse temperature of an analytic Hamiltonian, in the units of its energy."),
    ] = 1.0,
    temperature: o.Temperature = 300.0,
    steps: Annotated[
        int | None,
        option(
            help="Number of optimizer steps. Default: "
            + ", ".join(f"{value} for {kind.value}" for kind, value in DEFAULT_STEPS.items())
            + "."
        ),
    ] = None,
    batch: Annotated[int, option(help="Number of samples per optimizer step.")] = DEFAULT.batch,
    learning_rate: Annotated[
        float, option(help="Highest learning rate of Adam.")
    ] = DEFAULT.learning_rate,
    coupling: Annotated[
        Coupling | None,
        option(help="Kind of coupling layer. Default: affine, or spline for a single coordinate."),
    ] = None,
    layers: Annotated[int, option(help="Number of coupling layers.")] = FLOW.layers,
    hidden: Annotated[int, option(help="Number of units in each hidden layer.")] = FLOW.hidden,
    bins: Annotated[int, option(help="Number of bins of each spline.")] = FLOW.bins,
    generator: Annotated[
        Generator, option(help="Generating function of a continuous flow.")
    ] = FLOW.generator,
    integrator: Annotated[
        Integrator,
        option(help="Integrator of a continuous flow; leapfrog needs a separable generator."),
    ] = FLOW.integrator,
    integration_steps: Annotated[
        int, option(help="Number of time steps of a continuous flow.")
    ] = FLOW.integration_steps,
    duration: Annotated[
        float, option(help="Time τ over which a continuous flow is integrated.")
    ] = FLOW.duration,
    order: Annotated[int, option(help="Order of the integrator, 2 or 4.")] = FLOW.order,
    samples: Annotated[
        int | None,
        option(
            help=f"Number of samples for the final estimates. Default: {SAMPLES}, or "
            f"{FEWER_SAMPLES} for a molecule or a continuous flow."
        ),
    ] = None,
    seed: o.Seed = 0,
    device: o.DeviceOption = o.Device.CPU,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Train a canonical transformation on a Hamiltonian alone.

    Minimises the variational free energy, an upper bound to −ln Z. Writes model.safetensors,
    config.json, history.csv, figures, report.html and result.json. The last holds the bound with
    its standard error, the exact value where it is known, importance estimates and the frequencies.

    Example: symplectic-cv variational ringworld -o ringworld
    """
    if (system is None) == (molecule is None):
        raise OptionError("name either a SYSTEM (ringworld, harmonic-chain, …) or --system FILE")
    if not resume:
        require_free(output)
    elif (output / RESULT).is_file():
        note(f"{output}: this run is complete")
        return
    hamiltonian: Hamiltonian
    if molecule is not None:
        if size is not None or beta != 1.0:
            raise OptionError("--size and --beta are for analytic Hamiltonians; --temperature here")
        from openmm_plugin.energies.hamiltonian import load_hamiltonian

        hamiltonian = load_hamiltonian(molecule, top, temperature, trust_system=trust_system)
    else:
        hamiltonian = find_hamiltonian(str(system), size)
    if coupling is None:
        coupling = Coupling.SPLINE if hamiltonian.dimension == 1 else Coupling.AFFINE
    training_options = VariationalOptions(
        flow=FlowOptions(
            flow=flow,
            coupling=coupling,
            layers=layers,
            hidden=hidden,
            bins=bins,
            generator=generator,
            integrator=integrator,
            integration_steps=integration_steps,
            duration=duration,
            order=order,
        ),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        device=device.value,
    )
    settings: dict[str, Any] = {
        "command": "variational",
        "system": str(system or molecule),
        "dimension": hamiltonian.dimension,
        **training_options.to_json(),
    }
    if molecule is not None:
        settings["temperature_k"] = temperature
        settings["system_sha256"] = file_digest(molecule)
    else:
        settings |= {"beta": beta, "size": size}
    prepared = prepare_variational(hamiltonian, training_options, beta)
    note(f"{hamiltonian.name}: {hamiltonian.dimension} coordinates, {flow.value} flow")
    with progress_bar("learning", training_options.n_steps, "steps") as bar:

        def show(step: int, row: VariationalRow | None) -> None:
            bar.to(step, "" if row is None else f"−ln Z ≤ {row.free_energy_bound:.3f} nats")

        trained = train_variational_in_folder(prepared, output, settings, resume, show)
    model, history = trained.model, trained.history
    n_samples = samples or default_samples(model)
    with progress_bar("sampling", 2 * n_samples, "samples") as bar:
        result = estimate_variational(model, prepared.reduced, n_samples, seed, bar.advance)
    write_variational_report(output, result, history, settings)
    result.save(output, settings)  # last: a folder with a result.json is complete
    (output / RUN).unlink()

    report_estimate(prepared.reduced, result.estimate)
    slowest = ", ".join(f"{value:.4g}" for value in result.omega[:6])
    note(f"slowest frequencies: {slowest} ({result.omega_unit})")
    note(f"report: {output / 'report.html'}")
