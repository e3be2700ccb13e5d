"""`symplectic-cv sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import argument, option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.files.trajectories import TrajectoryFormat
from symplectic_cv.models.torsion_folder import load_modes
from symplectic_cv.reports.sampling_figures import plot_samples
from symplectic_cv.reports.style import save_figure
from symplectic_cv.sampling.chains import SamplingOptions
from symplectic_cv.sampling.conditional import conditional_structures, parse_fixed
from symplectic_cv.sampling.moves import MOVES, Method
from symplectic_cv.sampling.results import sampling_cautions
from symplectic_cv.sampling.sample import Samples, SamplingComplete, sample_hamiltonian

if TYPE_CHECKING:
    from openmm_plugin.systems import MolecularSystem

DEFAULT = SamplingOptions()


@with_threads
def sample(
    model: Annotated[Path, argument("MODEL", help="Model folder written by train or variational.")],
    /,
    *,
    output: o.Output = Path("samples"),
    system: o.FlexibleSystem = None,
    top: o.SystemTop = None,
    trust_system: o.TrustSystem = False,
    hamiltonian: o.HamiltonianOption = None,
    samples: Annotated[
        int, option(help="Number of samples; for importance and rejection the number of proposals.")
    ] = DEFAULT.samples,
    method: Annotated[
        Method,
        option(
            help="Sampling method. independence: Metropolis with proposals from the flow; pcn: "
            "small latent steps; hmc: latent Hamiltonian Monte Carlo; hybrid: proposals "
            "from the flow alternate with short dynamics; importance and rejection: "
            "independent samples of the flow, weighted or accepted by weight."
        ),
    ] = DEFAULT.method,
    chains: Annotated[int, option(help="Number of chains that run side by side.")] = DEFAULT.chains,
    thin: Annotated[
        int, option(help="Number of steps of a chain between two samples.")
    ] = DEFAULT.thin,
    warmup: Annotated[
        int,
        option(
            help="Number of steps of each chain before samples count; step sizes adapt during "
            "these."
        ),
    ] = DEFAULT.warmup,
    fix: Annotated[
        list[str] | None,
        option(
            metavar="'mode K = X'",
            help="Draw structures with mode K at X (in standard deviations) instead, the other "
            "modes from the latent Gaussian. May be repeated, but not for modes of torsions. "
            "Needs no --system; with one the structures get weights.",
        ),
    ] = None,
    format_: Annotated[
        TrajectoryFormat,
        option(
            "--format",
            help="Format of the structures: dcd keeps single precision, xtc rounds to 0.001 nm.",
        ),
    ] = TrajectoryFormat.DCD,
    platform: Annotated[
        str | None,
        option(
            help="OpenMM platform. Default: the fastest for the size of the system, a GPU if "
            "there is one."
        ),
    ] = None,
    workers: Annotated[
        int,
        option(
            at_least=1,
            help="Number of OpenMM Contexts that compute energies side by side, at least 1.",
        ),
    ] = 1,
    seed: o.Seed = DEFAULT.seed,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Draw unbiased samples of the Boltzmann distribution with a trained model.

    The samples are exact for any model of the system; a better model gives more independent
    samples. A molecule needs all its atoms in the model, and a --system without constraints
    (simulate --flexible). Writes samples.dcd with topology.pdb (samples.npz for an analytic
    Hamiltonian), samples.csv (log-likelihood in nats, energy in kJ/mol, weight in averages),
    summary.json (acceptance, effective sizes, autocorrelation, R̂) and samples.png.

    With --fix it writes structures at a value of a mode, to start umbrella windows from, and no
    figure.

    Example: symplectic-cv sample model --system md/system.xml --samples 20000
    """
    if fix and resume:
        raise OptionError(
            "`fix` draws its structures at once and keeps no checkpoint: leave `resume` out"
        )
    if hamiltonian is not None and (system is not None or fix):
        raise OptionError("`hamiltonian` is for the model of an analytic Hamiltonian: leave it out")
    if not resume:
        require_free(output)
    if fix:
        _sample_fixed(model, output, fix, system, top, samples, seed, format_, trust_system)
        return
    more: dict[str, Any] = {
        "chains": chains,
        "thin": thin,
        "warmup": warmup,
        "seed": seed,
        "folder": output,
        "resume": resume,
    }
    try:
        with progress_bar("sampling", samples, "samples") as bar:
            more["progress"] = bar.advance
            if system is None:
                found = sample_hamiltonian(model, samples, hamiltonian, method, **more)
            else:
                from openmm_plugin.sampling import sample as sample_molecule

                named = _trusted(system, top) if trust_system else system
                more |= {
                    "topology": None if trust_system else top,
                    "platform": platform,
                    "workers": workers,
                }
                found = sample_molecule(model, named, samples, method, **more)
    except SamplingComplete:
        note(f"{output}: this sampling is complete")
        return
    save_figure(plot_samples(found.target, found.chains, found.options), output / "samples.png")
    found.save(output, format_)
    _report(found, method)
    note(f"samples: {output}")


def _report(found: Samples, method: Method) -> None:
    summary, reduced = found.summary, found.target.reduced
    many = f"{found.options.chains} chains" if method in MOVES else "independent samples"
    note(f"{reduced.hamiltonian.name}: {reduced.dimension} coordinates, {method.value}, {many}")
    if method in MOVES:
        note(
            f"acceptance {100 * summary['acceptance']:.1f} %, autocorrelation "
            f"{summary['autocorrelation']:.1f} samples, R̂ {summary['rhat']:.3f}, "
            f"{summary['ess_chain']:.0f} effective samples in {summary['seconds']:.0f} s"
        )
    note(f"effective share of the flow's own samples: {100 * summary['ess_importance']:.1f} %")
    unit = summary["units"]["energy"]
    error = summary["mean_energy_standard_error"]
    known = "(error unknown)" if error is None else f"± {error:.3f}"
    note(f"mean energy {summary['mean_energy']:.3f} {known} {unit}")
    for message in sampling_cautions(summary):
        warn(message)


def _trusted(system: Path, top: Path | None) -> MolecularSystem:
    """The molecule of a system.xml whose forces may run code."""
    from openmm_plugin.systems import load_system

    return load_system(system, top, trust_system=True)


def _sample_fixed(
    folder: Path,
    output: Path,
    fix: list[str],
    system: Path | None,
    top: Path | None,
    samples: int,
    seed: int,
    kind: TrajectoryFormat,
    trust_system: bool,
) -> None:
    """Structures with some modes held."""
    network = load_modes(folder)
    fixed = parse_fixed(fix, network)
    reduced = None
    if system is not None:
        from openmm_plugin.sampling import molecular_hamiltonian

        if trust_system:
            reduced = molecular_hamiltonian(folder, _trusted(system, top))
        else:
            reduced = molecular_hamiltonian(folder, system, top)
    share = conditional_structures(network, fixed, samples, seed, reduced).save(output, kind)
    held = ", ".join(f"mode {mode} = {value:g}" for mode, value in fixed.items())
    note(f"{samples} structures with {held}: {output / f'samples.{kind.value}'}")
    if share is not None:
        note(f"effective share under the Hamiltonian: {100 * share:.1f} %")
