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
# C7eq basin within nanoseconds. A loop solves this: *train* on the frames, *bias* the slowest
# modes, *train again* on the biased frames too. Modes that have seen both basins distinguish them.
# The bias then drives the molecule between the basins, and free energies converge.
#
# The loop uses no torsion. The notebook looks at φ and ψ at the end, because they are known to be
# the slow torsions of this molecule.
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
# Each round writes `round-1/model`, `round-1/metadynamics` and so on. The model learns from all
# frames so far, and biased frames are taken without weights. Their flattened distribution is
# canonical for V + bias, so that the theory holds. With exact weights the rare states would hardly
# count, and the model would not learn what the bias has just found. Frames count more where they
# are few (`flatten`), because the next model must know the transition states.
#
# A round biases the modes below the widest gap in frequency, two or three of them. Its hills end
# when c(t) reaches 40 kJ/mol (`fill`): enough for φ, too little to turn a peptide bond to *cis*.
#
# After each round the newest model looks at all frames. Its metastable states are basins of the
# reweighted free energy along its slowest modes. Crossings between their cores are counted for
# every round. The loop ends when they stop growing. Each iteration over the loop runs one round.

# %%
from openmm_plugin import Adaptation, AdaptationOptions

options = AdaptationOptions(
    rounds=3 if SCALE >= 1 else 2,
    time_ns=max(0.01, 5.0 * SCALE),
    steps=max(20, int(5000 * SCALE)),
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
        f"{last.states} states; slowest ω {slowest} rad/ps"
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
# modes of the best round and in backbone torsions, and writes them into `free_energy/`.

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
# The same from the command line, where the strides were 13, 1 and 2:
#
#     symplectic-cv reweight adapt/round-*/metadynamics --stride 13 1 2 --torsions phi psi \
#         --distances hydrogen_bond=6,17 --regions C7eq=phi:-180:0 C7ax=phi:0:140
#
# ## 4. A second molecule
#
# Tetra-alanine with charged ends, in implicit solvent, has 21 heavy atoms, 57 dimensions and six
# backbone torsions. This time the loop makes its own unbiased run first.

# %%
options = AdaptationOptions(
    rounds=3 if SCALE >= 1 else 1,
    start_ns=max(0.02, 2.0 * SCALE),
    time_ns=max(0.005, 5.0 * SCALE),
    steps=max(20, int(5000 * SCALE)),
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
# Look at `rounds.csv` before you believe the free energies. A molecule with many soft modes needs
# more rounds. Where crossings stay rare the free energy has not converged, and its error is too
# small. At full length this one has not converged. The biased runs see two to three times the
# conformations of the unbiased one. A dozen soft modes are too many for two or three biased ones,
# and c(t) of 40 kJ/mol turns peptide bonds to *cis* (`benchmarks/README.md`). Use a smaller
# `--fill`, and look at the torsions.
