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
# Alanine dipeptide has two slow degrees of freedom, the backbone torsions φ and ψ. This notebook
# does not use them. It learns a *neural canonical transformation* from a trajectory alone: a
# change of coordinates and momenta that turns the molecule into independent harmonic oscillators
# (Li, Dong, Zhang, Wang, Phys. Rev. X 10, 021020). The slowest oscillators are collective
# variables, and metadynamics biases them.
#
# At `SCALE = 1` the notebook takes about ten minutes on two cores. The tests run it smaller.

# %%
import os
from pathlib import Path

import numpy as np
import torch

import openmm_plugin
import symplectic_cv as sc

SCALE = float(os.environ.get("SYMPLECTIC_CV_TUTORIAL_SCALE", "1"))
work = Path(os.environ.get("SYMPLECTIC_CV_TUTORIAL_FOLDER", "alanine-dipeptide"))
work.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)  # small networks are not faster with more threads

# %% [markdown]
# ## 1. A trajectory
#
# Any trajectory that MDTraj reads can be used. Here OpenMM makes one in implicit solvent. It writes
# the files that users usually have: frames and a topology.

# %%
md = openmm_plugin.simulate(
    openmm_plugin.build_molecule("alanine-dipeptide", solvent="implicit"),
    options=openmm_plugin.SimulationOptions(
        time_ns=max(0.1, 8.0 * SCALE), stride_ps=0.2, timestep_fs=2.0, seed=1
    ),
    folder=work / "md",
)
print(f"{md.frames} frames, 0.2 ps apart")

# %% [markdown]
# ## 2. Learn the transformation
#
# The ten heavy atoms have 30 Cartesian coordinates. Superposition in the Eckart frame removes rigid
# motion exactly and leaves 24. Their unit is ps (displacement times √(m/kT)), so that latent
# frequencies are angular frequencies in rad/ps.

# %%
data = sc.read_trajectories(md.trajectory)
result = sc.fit(
    data, temperature=300.0, steps=max(30, int(4000 * SCALE)), seed=1, folder=work / "model"
)
for warning in result.warnings:
    print("warning:", warning)
model = result.model
print(f"validation NLL {result.validation_nll:.2f} nats, Gaussian {result.gaussian_nll:.2f} nats")
print("slowest frequencies:", np.round(model.omega[:6].numpy(), 2), "rad/ps")

# %% [markdown]
# A gap in the frequencies shows how many modes are slow. The mutual information with the torsions,
# in nats, shows which torsions they follow. The training has not used the torsions.

# %%
analysis = sc.analyze(model, data, torsions=["phi", "psi"])
names = [torsion.name for torsion in analysis.torsions]
print("mode ", *(f"{name:>6}" for name in names))
for mode, row in enumerate(analysis.mutual_information[:4]):
    print(f"{mode:4d} ", *(f"{value:6.2f}" for value in row), "nats")

# %% [markdown]
# The plane of the two slowest modes, coloured by the torsions:

# %%
from symplectic_cv.reports.model_figures import plot_latent_plane
from symplectic_cv.reports.style import save_figure

panels = plot_latent_plane(analysis.frames.modes, analysis.angles, names)
save_figure(panels, work / "latent_plane.png")
print(work / "latent_plane.png")

# %% [markdown]
# ## 3. The modes as a force
#
# `export` writes the two slowest modes. OpenMM uses them as forces whose energy is the value of a
# mode. The values are the same in this package and in OpenMM.

# %%
from openmm_plugin.forces import evaluate

sc.export(model, modes=[0, 1], path=work / "cv.pt")
forces = openmm_plugin.mode_forces(work / "cv.pt", work / "md" / "system.xml")
start = openmm_plugin.load_system(work / "md" / "system.xml").positions
start = np.asarray(start.value_in_unit(start.unit), dtype=np.float64)
in_openmm = evaluate(forces, len(start), start)
here = model.modes(start[model.molecule.indices], [0, 1])[0]
print("modes of the starting structure in OpenMM:", np.round(in_openmm, 4))
print("modes of the starting structure here:     ", np.round(here, 4))

# %% [markdown]
# ## 4. Metadynamics
#
# Hills on the two modes fill the basin that the molecule is in. A short unbiased run before the
# first hill measures how far each mode fluctuates within a basin; hills are 0.7 times as wide.
# `MetadynamicsOptions` documents the other options.

# %%
options = openmm_plugin.MetadynamicsOptions(
    modes=[0, 1], time_ns=max(0.002, 0.2 * SCALE), pace_ps=0.25, seed=1
)
run = openmm_plugin.metadynamics(
    model, work / "md" / "system.xml", options=options, folder=work / "metadynamics"
)
last = run.colvar["bias_kj_per_mol"].iloc[-1]
print(f"{len(run.hills)} hills; bias at the end {last:.1f} kJ/mol")

# %%
from symplectic_cv.reports.bias_figures import plot_modes_over_time
from symplectic_cv.reports.free_energy_figures import plot_free_energy

labels = ["mode 0 (dimensionless)", "mode 1 (dimensionless)"]
columns = [run.colvar["mode_0"].to_numpy(), run.colvar["mode_1"].to_numpy()]
panels = plot_modes_over_time(run.colvar["time_ps"].to_numpy(), columns, labels)
save_figure(panels, work / "modes.png")
surface = run.free_energy()
save_figure(plot_free_energy(surface.axes, surface.values, labels), work / "free_energy.png")
print(work / "free_energy.png")

# %% [markdown]
# A run as short as this one shows the bias at work. A free energy takes nanoseconds. A run that was
# killed continues from its last checkpoint with `resume=True`.
#
# ## 5. Back to structures
#
# The map is invertible. A path through the latent space is a path of structures, each with its
# exact log-likelihood.

# %%
from symplectic_cv.paths.path import compare_paths

psi = analysis.angles[:, names.index("psi")]
ends = [int(np.abs(psi - target).argmin()) for target in (2.6, 0.0)]
paths = compare_paths(model, *data.positions[ends], points=20)
print(f"lowest log-likelihood: {paths.path.log_likelihood.min():.1f} nats on the latent path,")
print(f"{paths.straight.log_likelihood.min():.1f} nats on the straight line")
