"""The free energy of alanine dipeptide in vacuum against which adaptation is measured.

The expert's way: φ and ψ, biased by well-tempered metadynamics for the first 10 ns and then by
the same bias, held still, for 90 ns. Under a bias that does not move the weight of a frame is
exp(V/kT), exactly, so that nothing of the metadynamics is left in the result.

    python benchmarks/reference_free_energy.py run FOLDER      # 20 minutes on one core; resumes
    python benchmarks/reference_free_energy.py surface FOLDER  # → reference_free_energy.npz
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.checkpoints import CheckpointFolder
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.bias.blocks import block_of_frames
from symplectic_cv.bias.surfaces import binned_surface, region_difference
from symplectic_cv.units import thermal_energy

PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
"""Atoms C-N-CA-C and N-CA-C-N of the built-in alanine dipeptide, 0-based."""
TEMPERATURE = 300.0
TIMESTEP = 0.002
KT = thermal_energy(TEMPERATURE)
BIAS_FACTOR, HEIGHT, WIDTH = 10.0, 1.0, 0.3
"""Of the hills: factor, kJ/mol, rad."""
POINTS = 91
"""Of the table along each torsion: 4 degrees, a quarter of a hill's width."""
PACE = 500
"""Steps between hills: 1 ps."""
BUILD_NS, TOTAL_NS = 10.0, 100.0
STRIDE = 250
"""Steps between frames: 0.5 ps."""
CHECKPOINT = 250_000
BLOCKS = 40
LIMIT = 20.0
"""Free energies are compared below it, kJ/mol."""
FRAMES = "frames.bin"
"""φ, ψ in rad and V in kJ/mol of each frame, float32, from the run with the bias held still."""


def torsion(atoms: tuple[int, int, int, int]) -> openmm.Force:
    force = openmm.CustomTorsionForce("theta")
    force.addTorsion(*atoms)
    return force


def run(folder: Path, seed: int) -> None:
    """Builds the bias, then samples under it; goes on with what the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    names = [[atom.name for atom in molecule.topology.atoms()][i] for i in (*PHI, PSI[-1])]
    assert names == ["C", "N", "CA", "C", "N"], names
    system = openmm.XmlSerializer.clone(molecule.system)
    variables = [
        app.BiasVariable(torsion(atoms), -np.pi, np.pi, WIDTH, True, POINTS) for atoms in (PHI, PSI)
    ]
    meta = app.Metadynamics(
        system,
        variables,
        TEMPERATURE * unit.kelvin,
        BIAS_FACTOR,
        HEIGHT * unit.kilojoules_per_mole,
        PACE,
    )
    group = {meta._force.getForceGroup()}
    platform = choose_platform("Reference", system.getNumParticles())
    simulation = langevin_simulation(molecule, system, TEMPERATURE, TIMESTEP, seed, platform)
    growing = folder / FRAMES
    checkpoints = CheckpointFolder(folder / "checkpoint", [growing])
    kept = checkpoints.restore(simulation)
    if kept is None:
        relaxed = relaxed_state(molecule, TEMPERATURE, TIMESTEP, seed, platform)
        start_from(simulation, relaxed)
        growing.touch()
    else:
        table = kept[0]["bias"]
        meta._selfBias[:], meta._totalBias[:] = table, table
        meta._table.setFunctionParameters(*meta._widths, table.flatten(), *meta._limits)
        meta._force.updateParametersInContext(simulation.context)
    build, total = round(BUILD_NS * 1e3 / TIMESTEP), round(TOTAL_NS * 1e3 / TIMESTEP)
    with open(growing, "ab") as frames:
        while simulation.currentStep < total:
            if simulation.currentStep < build:
                meta.step(simulation, PACE)
            else:
                simulation.step(STRIDE)
                state = simulation.context.getState(energy=True, groups=group)
                energy = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
                row = [*meta.getCollectiveVariables(simulation), energy]
                frames.write(np.array(row, dtype=np.float32).tobytes())
            if simulation.currentStep % CHECKPOINT == 0:
                frames.flush()
                checkpoints.save(simulation, {"bias": np.array(meta._totalBias)})


def read_frames(folder: Path) -> np.ndarray:
    """φ, ψ (rad) and V (kJ/mol) of the frames, (F, 3)."""
    raw = np.fromfile(folder / FRAMES, dtype=np.float32)
    return raw[: len(raw) // 3 * 3].reshape(-1, 3).astype(np.float64)


def in_c7ax(phi: np.ndarray) -> np.ndarray:
    """The mask of frames on the C7ax side: 0 < φ < 140°, between the two barriers."""
    return (phi > 0.0) & (phi < np.radians(140.0))


def reduce(folder: Path, path: Path) -> None:
    """Writes F(φ, ψ) on bins of 10 degrees and ΔG(C7eq → C7ax), with errors."""
    frames = read_frames(folder)
    weights = np.exp((frames[:, 2] - frames[:, 2].max()) / KT)
    blocks = block_of_frames([len(frames)], BLOCKS)
    both = binned_surface(frames[:, :2], weights, [(-np.pi, np.pi)] * 2, ["phi", "psi"], KT, blocks)
    side = in_c7ax(frames[:, 0])
    delta = region_difference(side, ~side, weights, KT, blocks)
    np.savez_compressed(
        path,
        phi=both.axes[0],
        psi=both.axes[1],
        free_energy=both.free_energy.astype(np.float32),
        error=both.error.astype(np.float32),
        c7ax_minus_c7eq=delta.value,
        c7ax_minus_c7eq_error=delta.error,
        frames=len(frames),
    )
    low = both.free_energy < LIMIT
    print(f"{len(frames)} frames; {low.sum()} bins below {LIMIT:g} kJ/mol")
    print(f"standard error there: mean {both.error[low].mean():.2f} kJ/mol")
    print(f"G(C7ax) - G(C7eq) = {delta.value:.2f} ± {delta.error:.2f} kJ/mol")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run", "surface"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.action == "run":
        run(arguments.folder, arguments.seed)
    else:
        reduce(arguments.folder, Path(__file__).with_name("reference_free_energy.npz"))
