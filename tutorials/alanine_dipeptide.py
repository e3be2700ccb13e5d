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
# # Alanine dipeptide: from molecular dynamics to a free-energy surface
#
# Alanine dipeptide has two slow degrees of freedom, the backbone torsions φ and ψ. We pretend not
# to know that. From a trajectory alone we learn a *neural canonical transformation*: a change of
# coordinates and momenta that turns the molecule into independent harmonic oscillators
# (Li, Dong, Zhang, Wang, Phys. Rev. X 10, 021020). Its slowest oscillators are collective
# variables, and we bias them with metadynamics.
#
# At `SCALE = 1` the notebook takes about ten minutes on two cores. The tests run it smaller.

# %%
import os
from pathlib import Path

import numpy as np
import torch

SCALE = float(os.environ.get("SYMPLECTIC_CV_TUTORIAL_SCALE", "1"))
work = Path(os.environ.get("SYMPLECTIC_CV_TUTORIAL_FOLDER", "alanine-dipeptide"))
work.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)  # the networks are small: more threads only wait for one another

# %% [markdown]
# ## 1. A trajectory
#
# Any trajectory that MDTraj reads will do. Here OpenMM makes one, in implicit solvent, and writes
# it as users have them: a file of frames, and a topology.

# %%
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb, choose_platform

molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.IMPLICIT)
platform = choose_platform(None, molecule.topology.getNumAtoms())
md = work / "md"
md.mkdir()
write_structure(molecule, md)
frames = run_dynamics(
    molecule,
    md,
    time_ns=max(0.1, 8.0 * SCALE),
    stride_ps=0.2,
    timestep_fs=2.0,
    temperature=300.0,
    seed=1,
    platform=platform,
)
print(f"{frames} frames, 0.2 ps apart")

# %% [markdown]
# ## 2. Learn the transformation
#
# The ten heavy atoms have 30 Cartesian coordinates. Superposition in the Eckart frame takes rigid
# motion out exactly and leaves 24. Their unit is ps (displacement times √(m/kT)), so that latent
# frequencies are angular frequencies in rad/ps.

# %%
import symplectic_cv as sc

data = sc.read_trajectories([md / "trajectory.xtc"])
prepared = sc.prepare(
    data.positions,
    data.molecule,
    temperature=300.0,
    options=sc.TrainingOptions(steps=max(30, int(4000 * SCALE)), seed=1),
    lengths=data.lengths,
)
for warning in prepared.warnings:
    print("warning:", warning)
result = sc.train(prepared)
model = result.model
print(f"validation NLL {result.validation_nll:.2f} nats, Gaussian {result.gaussian_nll:.2f} nats")
print("slowest frequencies:", np.round(model.omega[:6].numpy(), 2), "rad/ps")

# %% [markdown]
# A gap in the spectrum says how many modes are slow. Which torsions do they know of? Mutual
# information answers, in nats; the model has seen none of them.

# %%
from symplectic_cv.analysis.mutual_information import mutual_information
from symplectic_cv.data.torsions import compute_torsions, find_torsions

torsions = find_torsions(data.molecule)
angles = compute_torsions(data.positions, torsions, data.molecule)
with torch.no_grad():
    modes = model.collective_variables(torch.as_tensor(data.positions)).numpy()
shared = mutual_information(modes[:, :4], angles, n_frames=min(5000, len(modes)))
print("mode ", *(f"{torsion.name:>6}" for torsion in torsions))
for mode, row in enumerate(shared):
    print(f"{mode:4d} ", *(f"{value:6.2f}" for value in row), "nats")

# %% [markdown]
# The plane of the two slowest modes, coloured by the torsions:

# %%
from symplectic_cv.reports.model_figures import plot_latent_plane
from symplectic_cv.reports.style import save_figure

panels = plot_latent_plane(modes, angles, [torsion.name for torsion in torsions])
save_figure(panels, work / "latent_plane.png")
print(work / "latent_plane.png")

# %% [markdown]
# ## 3. The modes as a force
#
# `export` writes one file with the two slowest modes. OpenMM takes it as a force whose energy is
# the value of a mode; the value is the same in this package and in OpenMM.

# %%
from openmm_plugin.forces import evaluate, mode_forces

sc.export(model, modes=[0, 1], path=work / "cv.pt")
forces = mode_forces(work / "cv.pt", molecule.system)
start = np.asarray(molecule.positions.value_in_unit(molecule.positions.unit), dtype=np.float64)
print(
    "modes of the starting structure in OpenMM:", np.round(evaluate(forces, len(start), start), 4)
)

# %% [markdown]
# ## 4. Metadynamics
#
# Hills on the two modes fill the basins that the molecule sits in. A short unbiased run before the
# first hill shows how far each mode swings within a basin; hills are 0.7 times as wide.
# `BiasOptions` documents the rest.

# %%
from openmm_plugin.biasing.run import BiasOptions, run_metadynamics

options = BiasOptions(time_ns=max(0.002, 0.2 * SCALE), pace_ps=0.25, seed=1)
bias_folder = work / "metadynamics"
bias_folder.mkdir()
run_metadynamics(molecule, forces, ["mode_0", "mode_1"], options, bias_folder, platform)
colvar = np.atleast_1d(np.genfromtxt(bias_folder / "colvar.csv", delimiter=",", names=True))
print(f"{len(colvar)} hills; bias at the end {colvar['bias_kj_per_mol'][-1]:.1f} kJ/mol")

# %%
from symplectic_cv.reports.bias_figures import plot_modes_over_time
from symplectic_cv.reports.free_energy_figures import plot_free_energy

names = ["mode_0", "mode_1"]
labels = ["mode 0 (dimensionless)", "mode 1 (dimensionless)"]
panels = plot_modes_over_time(colvar["time_ps"], [colvar[name] for name in names], labels)
save_figure(panels, work / "modes.png")
with np.load(bias_folder / "free_energy.npz") as surface:
    axes = [surface[name] for name in names]
    ax = plot_free_energy(axes, surface["free_energy"], labels)
    save_figure(ax, work / "free_energy.png")
print(work / "free_energy.png")

# %% [markdown]
# A run as short as this one shows the bias at work; a free energy takes nanoseconds. Kill it and
# call `run_metadynamics` with the same folder: it goes on from its last checkpoint.
#
# ## 5. Back to structures
#
# The map is invertible: a path through the latent space is a path of structures, each with its
# exact log-likelihood.

# %%
from symplectic_cv.paths.interpolation import cartesian_path, spherical_path

psi = angles[:, [torsion.name for torsion in torsions].index("psi")]
ends = [int(np.abs(psi - target).argmin()) for target in (2.6, 0.0)]
latent = spherical_path(model, *data.positions[ends], 20)
straight = cartesian_path(model, *data.positions[ends], 20)
print(f"lowest log-likelihood: {latent.log_likelihood.min():.1f} nats on the latent path,")
print(f"{straight.log_likelihood.min():.1f} nats on the straight line")
