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
# # From one unbiased run to a converged free energy
#
# A model knows only what its trajectory has seen. In vacuum alanine dipeptide does not leave its
# C7eq basin within nanoseconds. A loop solves this: *learn* modes from the frames, *bias* the
# slowest ones, *learn again* from the biased frames too. Modes that have seen both basins
# distinguish them. The bias then drives the molecule between the basins, and free energies
# converge.
#
# The loop chooses modes of torsions by itself, because two bonds of this molecule turn freely.
# They are functions of all torsions, and none has to be named.
#
# On the command line all of this is
#
#     symplectic-cv simulate alanine-dipeptide --solvent vacuum --time-ns 1 -o md
#     symplectic-cv adapt md/trajectory.xtc --system md/system.xml --rounds 3 --time-ns 5 -o adapt
#
# At `SCALE = 1` the notebook takes about an hour on two cores. The tests run it smaller.

# %%
import os
from pathlib import Path

import torch

SCALE = float(os.environ.get("SYMPLECTIC_CV_TUTORIAL_SCALE", "1"))
work = Path(os.environ.get("SYMPLECTIC_CV_TUTORIAL_FOLDER", "adaptation"))
work.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)

# %% [markdown]
# ## 1. One unbiased run
#
# The run takes a nanosecond in vacuum. All of its frames have negative φ.

# %%
from openmm_plugin import SimulationOptions, build_molecule, simulate

run = simulate(
    build_molecule("alanine-dipeptide", solvent="vacuum"),
    options=SimulationOptions(time_ns=max(0.02, 1.0 * SCALE), stride_ps=0.2, seed=1),
    folder=work / "md",
)

# %%
import symplectic_cv as sc
from symplectic_cv.data.descriptors import compute_columns

data = sc.read_trajectories(run.trajectory)
phi, psi = compute_columns(data.positions, data.molecule)
print(f"{data.n_frames} frames; part with φ > 0: {(phi.values > 0).mean():.3f}")

# %% [markdown]
# ## 2. The loop
#
# Each round writes `round-1/model`, `round-1/metadynamics` and so on. The modes of a round have the
# least frequency, ω² = ⟨χ̇²⟩ / Var χ, among all sums of cosines and sines of the torsions. Finding
# them takes less than a second. The first round counts all frames the same. Later rounds weight
# them as they would count at five times the temperature (`flatten`), so that the basins and the
# barriers between them all shape the modes.
#
# A round biases its three slowest modes. Its hills end when c(t) reaches 40 kJ/mol (`fill`): enough
# for φ, too little to turn a peptide bond to *cis*. Peptide bonds are no part of the modes.
#
# After each round MBAR combines all rounds into free energies along the torsions. The loop ends
# when a round changes them by less than 1 kJ/mol (`tolerance`). Each iteration runs one round.

# %%
from openmm_plugin import Adaptation, AdaptationOptions

options = AdaptationOptions(
    rounds=3 if SCALE >= 1 else 2,
    time_ns=max(0.01, 5.0 * SCALE),
    tolerance=1.0 if SCALE >= 1 else 0.0,
    seed=1,
)
loop = Adaptation(
    work / "md" / "system.xml",
    data=work / "md" / "trajectory.xtc",
    options=options,
    folder=work / "adapt",
)
for progress in loop:
    last = progress.rows[-1]
    slowest = ", ".join(f"{omega:.2f}" for omega in progress.model.omega[:4])
    print(
        f"round {progress.round}: modes {progress.modes}, {last.crossings} crossings between "
        f"{last.states} states; slowest ω {slowest} rad/ps; free energies changed by "
        f"{progress.model.free_energy_change} kJ/mol"
    )
print(loop.reason)

# %% [markdown]
# `rounds.csv` has the same numbers. A loop that was killed continues with `resume=True`, and the
# command with `--resume`.
#
# ## 3. Free energies
#
# Free energies use the *exact* weights. MBAR combines all rounds. Each round is cut into stretches
# of time, which are states of MBAR with the bias at their middle. Errors come from blocks of time.
# Rounds that rarely cross are thinned in proportion to their crossing rate, because MBAR would
# otherwise trust the basin they happened to be in. `free_energies` gives the free energies in the
# modes of the best round and in the torsions, and writes them into `free_energy/`.

# %%
final = loop.free_energies()
print(f"of each round 1 frame counts in {final.combined.strides}")
for name, found in final.differences.items():
    print(f"G({name}) - G(state 0) = {found.value:.2f} ± {found.interval:.2f} kJ/mol (95 %)")

# %% [markdown]
# `reweight` gives free energies in other torsions, distances and regions afterwards.

# %%
from symplectic_cv.reports.free_energy_figures import plot_free_energy_profiles
from symplectic_cv.reports.style import save_figure

result = sc.reweight(
    sorted((work / "adapt").glob("round-*/metadynamics")),
    torsions=["phi", "psi"],
    distances=["hydrogen_bond=6,17"],
    regions=["C7eq=phi:-180:0", "C7ax=phi:0:140"],
    stride=final.combined.strides,
)
print(f"{result.effective_frames:.0f} effective frames of {len(result.times)}")
for name, found in result.differences.items():
    print(f"G({name}) - G(C7eq) = {found.value:.2f} ± {found.interval:.2f} kJ/mol (95 %)")
panels = plot_free_energy_profiles(result.profiles, [c.unit for c in result.columns])
save_figure(panels, work / "profiles.png")
print(work / "profiles.png")

# %% [markdown]
# The same from the command line, with the strides that the loop printed:
#
#     symplectic-cv reweight adapt/round-*/metadynamics --stride 13 1 2 --torsions phi psi \
#         --distances hydrogen_bond=6,17 --regions C7eq=phi:-180:0 C7ax=phi:0:140
#
# ## 4. A peptide, from its PDB file to PLUMED
#
# Tetra-alanine with charged ends in implicit solvent. `pdb=` of `build_molecule` takes a file of
# your own in place of the name. This time the loop makes its own unbiased run first.

# %%
options = AdaptationOptions(
    rounds=3 if SCALE >= 1 else 1,
    start_ns=max(0.02, 2.0 * SCALE),
    time_ns=max(0.005, 5.0 * SCALE),
    seed=1,
)
loop = Adaptation(
    build_molecule("tetra-alanine", solvent="implicit"),
    options=options,
    folder=work / "adapt-peptide",
)
for progress in loop:
    print(f"round {progress.round}: {progress.rows[-1].crossings} crossings")
final = loop.free_energies()
print(f"tetra-alanine: {final.effective_frames:.0f} effective frames")
for name, found in final.differences.items():
    print(f"G({name}) - G(state 0) = {found.value:.1f} ± {found.interval:.1f} kJ/mol")

# %% [markdown]
# The modes of the last round go to GROMACS, or any other program that PLUMED runs in. The file has
# lines of `TORSION` and `CUSTOM` alone and needs no plugin of PLUMED.

# %%
sc.export(progress.folder / "model", modes=progress.modes, path=work / "plumed", plumed=True)
print((work / "plumed" / "cv-plumed.dat").read_text()[:600])

# %% [markdown]
# Look at `rounds.csv` before you believe the free energies: crossings, and the change from round to
# round. Where crossings stay rare a free energy has not converged, and its error is too small.
