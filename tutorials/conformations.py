# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Conformations of alanine dipeptide: paths, scans, and exact samples
#
# A neural canonical transformation is invertible, and its likelihood is exact. Structures can
# therefore be drawn from the latent space: along a mode, between two conformations (figures 5 and
# 6 of Li, Dong, Zhang, Wang, Phys. Rev. X 10, 021020), and, with their energies, without bias.
#
# At `SCALE = 1` the notebook takes about twenty minutes on two cores. The tests run it smaller.

# %%
import os
from pathlib import Path

import numpy as np
import torch

SCALE = float(os.environ.get("SYMPLECTIC_CV_TUTORIAL_SCALE", "1"))
work = Path(os.environ.get("SYMPLECTIC_CV_TUTORIAL_FOLDER", "conformations"))
work.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)  # small networks are not faster with more threads

# %% [markdown]
# ## 1. A trajectory without constraints
#
# Exact sampling needs every bond to move as the force field says: `flexible=True`.

# %%
from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb

molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.IMPLICIT, flexible=True)
md = work / "md"
md.mkdir()
write_structure(molecule, md)
run_dynamics(
    molecule,
    md,
    time_ns=max(0.05, 10.0 * SCALE),
    stride_ps=0.2 if SCALE > 0.05 else 0.1,
    timestep_fs=1.0,
    temperature=300.0,
    seed=1,
    platform=choose_platform(None, molecule.topology.getNumAtoms()),
    lossless=True,  # XTC would round positions, and with them energies
)

# %% [markdown]
# ## 2. Paths in the latent space of the heavy atoms
#
# The model for collective variables uses Cartesian coordinates in the Eckart frame.

# %%
import symplectic_cv as sc

data = sc.read_trajectories([md / "trajectory.dcd"])
prepared = sc.prepare(
    data.positions,
    data.molecule,
    temperature=300.0,
    options=sc.TrainingOptions(
        steps=max(10, round(4000 * SCALE)), hidden=64 if SCALE > 0.05 else 8
    ),
)
model = sc.train(prepared).model
print("slowest modes:", np.round(model.omega[:3].numpy(), 2), "rad/ps")

# %% [markdown]
# Lines in the plane of the two slowest modes, with the other modes at zero, and their
# conformations on the Ramachandran plot of the data (figure 5):

# %%
import matplotlib.pyplot as plt

from symplectic_cv.data.torsions import compute_torsions, find_torsions
from symplectic_cv.paths.latent_path import latent_structures
from symplectic_cv.reports.style import STYLE

torsions = find_torsions(data.molecule)
angles = np.degrees(compute_torsions(data.positions, torsions, data.molecule))


def ramachandran(axes, title):
    axes.hist2d(*angles.T, 90, range=[[-180, 180]] * 2, cmap="Greys", norm="log")
    axes.set(xlabel="φ (degrees)", ylabel="ψ (degrees)", title=title)
    axes.set(xlim=(-180, 180), ylim=(-180, 180), xticks=range(-180, 181, 60))


line = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
with plt.rc_context(STYLE):
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.3), layout="constrained")
    ramachandran(panels[1], "the same in φ and ψ")
    for level, colour in zip((-1.2, 0.0, 1.2), ("#0072B2", "#D55E00", "#009E73"), strict=True):
        u = torch.zeros(len(line), model.dimension, dtype=torch.float64)
        u[:, 0], u[:, 1] = line, level
        found = latent_structures(model, u)
        along = np.degrees(compute_torsions(found.positions, torsions, data.molecule))
        panels[0].plot(u[:, 0], u[:, 1], color=colour)
        panels[1].plot(*along.T, ".", color=colour, markersize=4)
    panels[0].set(xlabel="mode 0 (dimensionless)", ylabel="mode 1 (dimensionless)")
    panels[0].set_title("lines in the latent plane")
    figure.savefig(work / "plane.png", dpi=130)

# %% [markdown]
# A path between two conformations (figure 6). Spherical interpolation of all modes stays in the
# shell where the latent probability is. Straight lines, in space or in the latent space, pass
# through unlikely points. `refine_path` then moves the path to the most likely path nearby.

# %%
from symplectic_cv.paths.interpolation import (
    cartesian_path,
    spherical_path,
    straight_latent_path,
)
from symplectic_cv.paths.strings import refine_path


def nearest(phi, psi):
    """The frame nearest to a point of the Ramachandran plot."""
    apart = np.radians(angles - np.array([phi, psi]))
    return int(np.cos(apart).sum(1).argmax())


ends = data.positions[[nearest(-125, 150), nearest(-75, 0)]]
arc = spherical_path(model, *ends, 30)
ways = {
    "spherical": arc,
    "refined": refine_path(model, arc, max(5, round(200 * min(1.0, SCALE)))),
    "straight, latent": straight_latent_path(model, arc.latent[0], arc.latent[-1], 30),
    "straight, in space": cartesian_path(model, *ends, 30),
}
with plt.rc_context(STYLE):
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.3), layout="constrained")
    ramachandran(panels[0], "paths from (−125°, 150°) to (−75°, 0°)")
    for name, way in ways.items():
        along = np.degrees(compute_torsions(way.positions, torsions, data.molecule))
        panels[0].plot(*along.T, ".", markersize=4, label=name)
        panels[1].plot(way.log_likelihood, label=name)
        print(f"{name}: lowest log-likelihood {way.log_likelihood.min():.1f} nats")
    panels[1].set(xlabel="point of the path", ylabel="ln ρ(q) (nats)")
    panels[1].legend()
    figure.savefig(work / "paths.png", dpi=130)

# %% [markdown]
# ## 3. Exact samples of all atoms
#
# Bonds, angles and torsions are better coordinates for sampling. Torsions lie on a circle, and the
# stiff coordinates are nearly Gaussian at given torsions. The training uses the likelihood of the
# frames and their energies. The energies make the spread of the importance weights small.

# %%
from openmm_plugin.energies.hamiltonian import load_hamiltonian
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.training.fit import prepare, train

every = sc.read_trajectories([md / "trajectory.dcd"], atoms="all")
small = SCALE <= 0.05
options = sc.TrainingOptions(
    steps=max(10, round(2500 * SCALE)),
    batch=64 if small else 256,
    coupling=Coupling.SPLINE,
    chart=Chart.INTERNAL,
    layers=2 if small else 6,
    hidden=8 if small else 64,
    momentum_weight=0.0,
    energy_weight=1.0,
)


def energy(frame):
    """The Hamiltonian of the MD in the frame of the model."""
    return ReducedHamiltonian(load_hamiltonian(md / "system.xml", None, 300.0, frame))


prepared = prepare(every.positions, every.molecule, 300.0, options, None, None, energy)
internal = train(prepared).model

# %% [markdown]
# Proposals of the flow are accepted or rejected by their weights exp(−βU)|det A|/ρ. They alternate
# with short molecular dynamics, so that no chain stays in one place for long. The samples have the
# Boltzmann distribution for any model. A better model repeats fewer of them.

# %%
from symplectic_cv.sampling.chains import SamplingOptions, importance_ess, sample_target
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.statistics import autocorrelation_time, split_rhat
from symplectic_cv.sampling.target import LatentTarget

target = LatentTarget(internal, energy(internal.frame))
found = sample_target(
    target,
    SamplingOptions(
        samples=max(160, round(20_000 * SCALE)),
        method=Method.HYBRID,
        chains=16,
        warmup=max(5, round(100 * SCALE)),
    ),
)
print(f"acceptance of the flow's proposals: {100 * found.acceptance:.1f} %")
print(f"importance ESS of its samples: {100 * importance_ess(found):.1f} %")
print(
    f"energy: autocorrelation {autocorrelation_time(found.energy):.1f} steps, "
    f"R̂ {split_rhat(found.energy):.3f}"
)

# %%
x = internal.frame.positions(torch.from_numpy(found.x.reshape(-1, internal.dimension))).numpy()
of_all = find_torsions(every.molecule)
sampled = np.degrees(compute_torsions(x, of_all, every.molecule))
with plt.rc_context(STYLE):
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.3), layout="constrained")
    for axes, values, title in (
        (panels[0], angles, "molecular dynamics"),
        (panels[1], sampled, "exact samples"),
    ):
        axes.hist2d(*values.T, 60, range=[[-180, 180]] * 2, cmap="viridis", norm="log")
        axes.set(xlabel="φ (degrees)", ylabel="ψ (degrees)", title=title)
        axes.set(xticks=range(-180, 181, 60), yticks=range(-180, 181, 60))
    figure.savefig(work / "samples.png", dpi=130)
print(work / "samples.png")
