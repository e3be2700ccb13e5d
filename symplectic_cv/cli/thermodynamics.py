"""`symplectic-cv thermodynamics`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from symplectic_cv.analysis.thermodynamics import FEWER_SAMPLES, SAMPLES
from symplectic_cv.analysis.thermodynamics import thermodynamics as analytic_thermodynamics
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.files.tables import read_array
from symplectic_cv.hamiltonians.of_model import require_molecule
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import load_phase_space_model, read_config
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.reports.thermodynamics_report import (
    thermodynamics_cautions,
    write_thermodynamics_report,
)
from symplectic_cv.sampling.thermodynamics import Thermodynamics


@with_threads
def thermodynamics(
    model: Annotated[Path, argument("MODEL", help="Model folder written by variational or train.")],
    /,
    *,
    output: o.Output = Path("thermodynamics"),
    system: o.FlexibleSystem = None,
    top: o.SystemTop = None,
    trust_system: o.TrustSystem = False,
    hamiltonian: o.HamiltonianOption = None,
    to: Annotated[
        str | None,
        option(
            metavar="SYSTEM",
            help="Also compute the free-energy difference to this analytic Hamiltonian of as "
            "many coordinates: a built-in name or FILE.py:CLASS.",
        ),
    ] = None,
    to_system: Annotated[
        Path | None,
        option(
            help="Also compute the free-energy difference to this system.xml of the same atoms."
        ),
    ] = None,
    to_beta: Annotated[
        float | None,
        option(
            help="Also compute the free-energy difference to this β, for an analytic Hamiltonian."
        ),
    ] = None,
    to_temperature: Annotated[
        float | None,
        option(
            help="Also compute the free-energy difference to this temperature in K, for a molecule."
        ),
    ] = None,
    observable: Annotated[
        Path | None,
        option(
            help="File (.npy) of observables for the power spectrum: one coefficient per "
            "coordinate q, shape (n,) or (m, n), or three per atom of a molecule, shape (N,"
            " 3) or (m, N, 3). Default: every q."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        option(
            help=f"Number of samples of each estimate. Default: {SAMPLES}, or {FEWER_SAMPLES} for"
            " a molecule or a continuous flow."
        ),
    ] = None,
    seed: o.Seed = 0,
    threads: o.Threads = 1,
) -> None:
    """Compute free energy, entropy, energy and spectrum of a trained model, with their errors.

    Writes result.json (the bound on −ln Z, importance estimates and differences, in nats),
    spectrum.csv, spectrum.png and report.html. For a model in internal coordinates the bound is
    that of its configurations, with momenta integrated analytically, and there is a spectrum only
    with --observable.

    Example: symplectic-cv thermodynamics ringworld --to-beta 0.8
    """
    require_free(output)
    rows = None if observable is None else read_array(observable, "observables")
    with progress_bar("sampling", None, "samples") as bar:

        def show(stage: str, amount: int, total: int) -> None:
            bar.expect(total, "power spectrum" if stage == "spectrum" else "")
            bar.advance(amount)

        options: dict[str, Any] = {
            "samples": samples,
            "observable": rows,
            "seed": seed,
            "progress": show,
        }
        if isinstance(load_phase_space_model(model), NeuralCanonicalTransformation):
            if to is not None or to_beta is not None or hamiltonian is not None:
                raise OptionError(
                    "`hamiltonian`, `to` and `to_beta` are for analytic Hamiltonians; for a "
                    "molecule give `to_system` or `to_temperature`"
                )
            if system is None:
                raise OptionError(
                    f"{model}: is a model of a molecule: name its `system` system.xml"
                )
            from openmm_plugin.molecular_thermodynamics import thermodynamics as of_molecule
            from openmm_plugin.systems import load_system, read_system

            named: Any = system
            other: Any = to_system
            beside = top
            if trust_system:
                named, beside = load_system(system, top, trust_system), None
                other = None if to_system is None else read_system(to_system, trust_system)
            options |= {"to_system": other, "to_temperature": to_temperature}
            result = of_molecule(model, named, beside, **options)
        else:
            if any(value is not None for value in (system, to_system, to_temperature)):
                require_molecule(model)
            result = analytic_thermodynamics(model, hamiltonian, to=to, to_beta=to_beta, **options)
    names = {
        "system": system,
        "top": top,
        "hamiltonian": hamiltonian,
        "to": to,
        "to_system": to_system,
    }
    settings: dict[str, Any] = {
        "command": "thermodynamics",
        "model": str(model),
        "model_sha256": read_config(model)["weights_sha256"],
        **{name: None if value is None else str(value) for name, value in names.items()},
        "to_beta": to_beta,
        "to_temperature": to_temperature,
        "observable": None if observable is None else str(observable),
        "seed": seed,
    }
    result = replace(result, settings=settings)
    result.save(output)
    write_thermodynamics_report(output, result)

    reduced = result.reduced
    note(
        f"{reduced.hamiltonian.name}: {reduced.dimension} coordinates, {result.estimate.samples} "
        "samples"
    )
    if result.spectrum is None:
        note("no spectrum: a model in internal coordinates has one with --observable (minutes)")
    report_estimate(reduced, result.estimate)
    for name, found in result.differences.items():
        note(
            f"to {name}: −ln Z changes by {found.difference:.4f} ± {found.standard_error:.4f} nats"
        )
    note(f"report: {output / 'report.html'}")


def report_estimate(reduced: ReducedHamiltonian, found: Thermodynamics) -> None:
    """Prints the bound, the importance estimate, and what to be careful with."""
    exact = reduced.hamiltonian.exact_free_energy(reduced.beta)
    known = ""
    if exact is not None:
        known = f"; exact {exact:.4f}, KL {found.free_energy_bound - exact:.4f}"
    note(f"−ln Z ≤ {found.free_energy_bound:.4f} ± {found.standard_error:.4f} nats{known}")
    note(
        f"importance estimate: −ln Z = {-found.ln_z:.4f} ± {found.ln_z_standard_error:.4f} nats, "
        f"effective share of the samples {100 * found.ess:.1f} %"
    )
    for message in thermodynamics_cautions(found):
        warn(message)
