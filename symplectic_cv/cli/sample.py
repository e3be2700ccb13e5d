"""`symplectic-cv sample`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from symplectic_cv.analysis.sampling_report import (
    SUMMARY,
    cautions,
    draw_samples,
    summarise,
    write_samples,
    write_summary,
)
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.thermodynamics import Given, own_hamiltonian
from symplectic_cv.errors import SamplingError
from symplectic_cv.output import RUN, require_free, start_run
from symplectic_cv.sampling.chains import SamplingOptions, sample_target
from symplectic_cv.sampling.moves import MOVES, Method
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.storage import load_phase_space_model, read_config

DEFAULT = SamplingOptions()


def sample(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model folder from `train` or `variational`.")
    ],
    output: o.Output = Path("samples"),
    system: Annotated[
        Optional[Path],
        typer.Option("--system", help="system.xml of a molecule's model, without constraints."),
    ] = None,
    top: Annotated[
        Optional[Path],
        typer.Option("--top", help="PDB of the molecule (default: topology.pdb beside --system)."),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Samples in all; proposals for importance and rejection.")
    ] = DEFAULT.samples,
    method: Annotated[
        Method,
        typer.Option(
            help="independence: Metropolis with proposals from the flow; pcn: small latent steps; "
            "hmc: latent Hamiltonian Monte Carlo; hybrid: proposals of the flow and short dynamics "
            "in turns; importance, rejection: independent samples of the flow, weighted or kept "
            "by weight."
        ),
    ] = DEFAULT.method,
    chains: Annotated[int, typer.Option(help="Chains at once.")] = DEFAULT.chains,
    thin: Annotated[int, typer.Option(help="Steps of a chain per sample.")] = DEFAULT.thin,
    warmup: Annotated[
        int, typer.Option(help="Steps of each chain before samples count; step sizes adapt then.")
    ] = DEFAULT.warmup,
    seed: o.Seed = DEFAULT.seed,
    threads: o.Threads = 1,
    resume: o.Resume = False,
) -> None:
    """Unbiased samples of the Boltzmann distribution through a learned model.

    Exact for any model of the system, good or bad; a good one gives more independent samples. A
    molecule needs all atoms in the model and --system without constraints (`simulate --flexible`).
    Writes samples.xtc with topology.pdb (samples.npz of an analytic Hamiltonian), samples.csv
    (log-likelihood in nats, energy in kJ/mol, weight in averages), summary.json (acceptance,
    effective sizes, autocorrelation, R̂) and samples.png.

    Example: symplectic-cv sample model --system md/system.xml --samples 20000
    """
    torch.set_num_threads(threads)
    if not resume:
        require_free(output)
    elif (output / SUMMARY).is_file():
        note(f"{output}: this sampling is complete")
        return
    options = SamplingOptions(samples, method, chains, thin, warmup, seed)
    network = load_phase_space_model(model)
    reduced = own_hamiltonian(network, model, Given(system, top))
    target = LatentTarget(network, reduced)
    settings = {
        "command": "sample",
        "model_sha256": read_config(model)["weights_sha256"],
        "system": None if system is None else str(system),
        "samples": samples,
        "method": method.value,
        "chains": chains,
        "thin": thin,
        "warmup": warmup,
        "seed": seed,
    }
    many = f"{chains} chains" if method in MOVES else "independent samples"
    note(f"{reduced.hamiltonian.name}: {reduced.dimension} coordinates, {method.value}, {many}")
    start_run(output, settings, resume)
    checkpoint = output / "checkpoint"
    begin = time.perf_counter()
    try:
        with progress_bar("sampling", samples, "samples") as bar:
            found = sample_target(target, options, checkpoint, bar.advance)
    except SamplingError:
        # nothing half-written stays behind a run that cannot work
        shutil.rmtree(checkpoint, ignore_errors=True)
        (output / RUN).unlink(missing_ok=True)
        output.rmdir()
        raise
    seconds = time.perf_counter() - begin
    summary = summarise(target, found, options) | {"seconds": seconds}
    write_samples(output, target, found, method)
    draw_samples(output / "samples.png", target, found, options)
    write_summary(output, summary)
    shutil.rmtree(checkpoint)
    (output / RUN).unlink()

    if method in MOVES:
        note(
            f"acceptance {100 * summary['acceptance']:.1f} %, autocorrelation "
            f"{summary['autocorrelation']:.1f} samples, R̂ {summary['rhat']:.3f}, "
            f"{summary['ess_chain']:.0f} effective samples in {seconds:.0f} s"
        )
    note(f"effective share of the flow's own samples: {100 * summary['ess_importance']:.1f} %")
    unit = summary["units"]["energy"]
    note(
        f"mean energy {summary['mean_energy']:.3f} ± {summary['mean_energy_standard_error']:.3f} "
        f"{unit}"
    )
    for message in cautions(summary):
        warn(message)
    note(f"samples: {output}")
