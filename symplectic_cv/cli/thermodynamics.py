"""`symplectic-cv thermodynamics`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from symplectic_cv.analysis.spectrum import power_spectrum
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import make_folder, require_free
from symplectic_cv.flows.options import Chart, Flow
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.library import find_hamiltonian
from symplectic_cv.hamiltonians.of_model import analytic_hamiltonian, require_molecule
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import load_phase_space_model, read_config
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.reports.thermodynamics_report import (
    Compared,
    thermodynamics_cautions,
    write_thermodynamics_result,
)
from symplectic_cv.sampling.target import require_same_dimension
from symplectic_cv.sampling.thermodynamics import (
    Thermodynamics,
    estimate,
    free_energy_difference,
)

SAMPLES, FEWER_SAMPLES = 100_000, 20_000
"""Default samples of each estimate; a molecule and a continuous flow take the smaller number."""


@with_threads
def thermodynamics(
    model: Annotated[Path, argument("MODEL", help="Model folder written by variational or train.")],
    /,
    *,
    output: o.Output = Path("thermodynamics"),
    system: o.FlexibleSystem = None,
    top: o.SystemTop = None,
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
    network = load_phase_space_model(model)
    given = Given(system, top, to, to_system, to_beta, to_temperature)
    reduced = own_hamiltonian(network, model, given)
    others = other_hamiltonians(network, reduced, given)
    rows = None if observable is None else read_observable(observable, network)
    n_samples = default_samples(network) if samples is None else samples
    note(f"{reduced.hamiltonian.name}: {reduced.dimension} coordinates, {n_samples} samples")
    with progress_bar("sampling", (2 + len(others)) * n_samples, "samples") as bar:
        found = estimate(network, reduced, n_samples, seed, bar.advance)
        compared = [
            Compared(
                name,
                free_energy_difference(network, reduced, other, n_samples, seed, bar.advance),
            )
            for name, other in others
        ]
    power = None
    if rows is None and network.options.chart is Chart.INTERNAL:
        note("no spectrum: a model in internal coordinates has one with --observable (minutes)")
    else:
        with progress_bar("spectrum", None, ""):
            power = power_spectrum(network, rows, seed=seed)
    settings: dict[str, Any] = {
        "command": "thermodynamics",
        "model": str(model),
        "model_sha256": read_config(model)["weights_sha256"],
        **given.to_json(),
        "observable": None if observable is None else str(observable),
        "seed": seed,
    }
    make_folder(output)
    write_thermodynamics_result(output, network, reduced, found, compared, power, settings)

    report_estimate(reduced, found)
    for other in compared:
        note(
            f"to {other.name}: −ln Z changes by {other.found.difference:.4f} ± "
            f"{other.found.standard_error:.4f} nats"
        )
    note(f"report: {output / 'report.html'}")


def default_samples(model: PhaseSpaceModel) -> int:
    """Samples of each estimate where a user does not say."""
    slow = isinstance(model, NeuralCanonicalTransformation)
    return FEWER_SAMPLES if slow or model.options.flow is Flow.CONTINUOUS else SAMPLES


@dataclass(frozen=True)
class Given:
    """The Hamiltonians that a user named."""

    system: Path | None
    top: Path | None
    to: str | None = None
    to_system: Path | None = None
    to_beta: float | None = None
    to_temperature: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            name: value if value is None or isinstance(value, float) else str(value)
            for name, value in vars(self).items()
        }


def own_hamiltonian(network: PhaseSpaceModel, folder: Path, given: Given) -> ReducedHamiltonian:
    """The Hamiltonian that a model was learned from, at its temperature.

    Raises:
        OptionError: options of molecules for an analytic Hamiltonian, or the other way round.
        HamiltonianError: a system that is not the model's.
    """
    if not isinstance(network, NeuralCanonicalTransformation):
        of_molecules = (given.system, given.to_system, given.to_temperature)
        if any(value is not None for value in of_molecules):
            require_molecule(folder)
        return analytic_hamiltonian(folder)
    if given.to is not None or given.to_beta is not None:
        raise OptionError(
            "`to` and `to_beta` are for analytic Hamiltonians; here `to_system`, `to_temperature`"
        )
    if given.system is None:
        return analytic_hamiltonian(folder)  # says what is missing
    from openmm_plugin.sampling import molecular_hamiltonian

    return molecular_hamiltonian(folder, given.system, given.top)


def other_hamiltonians(
    network: PhaseSpaceModel, reduced: ReducedHamiltonian, given: Given
) -> list[tuple[str, ReducedHamiltonian]]:
    """The reference densities to compare with, by name, in the variables of `reduced`."""
    others: list[tuple[str, ReducedHamiltonian]] = []

    def add(name: str, hamiltonian: Hamiltonian, beta: float) -> None:
        other = ReducedHamiltonian(hamiltonian, beta, reduced.scale, reduced.floor)
        require_same_dimension(network, other)
        others.append((name, other))

    if given.to is not None:
        size = reduced.dimension if given.to == "harmonic-chain" else None
        add(given.to, find_hamiltonian(given.to, size), reduced.beta)
    if given.to_beta is not None:
        add(f"β = {given.to_beta:g}", reduced.hamiltonian, given.to_beta)
    if isinstance(network, NeuralCanonicalTransformation):
        if given.to_system is not None:
            from openmm_plugin.energies.hamiltonian import load_hamiltonian

            top = given.top if given.system == given.to_system else None
            temperature = network.temperature
            molecule = load_hamiltonian(given.to_system, top, temperature, network.frame)
            add(str(given.to_system), molecule, 1.0)
        if given.to_temperature is not None:
            if not 0.0 < given.to_temperature < math.inf:
                raise OptionError(f"`to_temperature` must be positive; got {given.to_temperature}")
            beta = network.temperature / given.to_temperature
            add(f"{given.to_temperature:g} K", reduced.hamiltonian, beta)
    return others


def read_observable(path: Path, network: PhaseSpaceModel) -> np.ndarray:
    """Observables per coordinate q, (m, n).

    Raises:
        OptionError: a file that is not readable or of another shape.
    """
    try:
        values = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: not a readable .npy file of observables ({error})") from error
    if isinstance(network, NeuralCanonicalTransformation):
        frame = network.frame
        if values.ndim >= 2 and values.shape[-2:] == (frame.n_atoms, 3):
            # y = r + U q / √(m/kT): Σ c·y has the coefficients Uᵀ c / √(m/kT)
            flat = (values / frame.scale.cpu().numpy()[:, None]).reshape(-1, 3 * frame.n_atoms)
            return flat @ frame.basis.cpu().numpy()
    rows = np.atleast_2d(values)
    if rows.ndim != 2 or rows.shape[1] != network.dimension:
        raise OptionError(
            f"{path}: has shape {values.shape}; an observable needs {network.dimension} numbers, "
            "one per coordinate, or three per atom of a molecule"
        )
    return rows


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
