"""The cost of metadynamics on torsion modes: the native force with its own grid, OpenMM's forces.

    python benchmarks/torsion_cost.py -o torsion_cost.json

Alanine dipeptide, steps of 2 fs, a hill each 0.2 ps. Biased and unbiased simulations take turns in
windows of processor time. The numbers are medians over the windows, with the least and the
greatest. A hill alone is timed too, and one on the finer grid that a native force has by itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.forces import mode_forces
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.exporting.export import export
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import select_atoms

PACE = 100
WIDTHS = {2: 48, 3: 32}
"""The range of a mode over the width of its hills, by the number of modes: 121 and 41 points."""
FINER = 64
"""Of three modes in a native force by itself: 81 points."""
ENGINES = ("native", "openmm")


def random_modes(molecule: MolecularSystem) -> TorsionModel:
    """Three modes of phi and psi of order 2; the cost does not depend on the coefficients."""
    atoms = select_atoms(md.Topology.from_openmm(molecule.topology), None)
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))[atoms.indices]
    bonds = tuple(bond for bond in find_rotatable_bonds(atoms, x) if not bond.amide)
    coefficients = 0.5 * np.random.default_rng(0).normal(size=(3, len(bonds), 2, 2))
    nan = np.full(3, np.nan)
    return TorsionModel(
        molecule=atoms,
        temperature=300.0,
        bonds=bonds,
        order=2,
        coefficients=coefficients,
        constant=np.zeros(3),
        omega=np.ones(3),
        omega_error=nan,
        omega_held_out=nan,
        steepness=np.ones(3),
    )


def simulations(
    molecule: MolecularSystem, n: int, platform: openmm.Platform
) -> dict[str, Callable[[int], object]]:
    """What takes a number of steps: unbiased, and biased along n modes by each engine."""
    model = random_modes(molecule)
    options = options_of(model, n, WIDTHS[n])
    start = relaxed_state(molecule, 300.0, 0.002, 0, platform)
    made: dict[str, Callable[[int], object]] = {}
    for kind in ("unbiased", *ENGINES):
        system = openmm.XmlSerializer.clone(molecule.system)
        engine = None
        if kind != "unbiased":
            engine = bias(system, model, n, kind, options)
        simulation = langevin_simulation(molecule, system, 300.0, 0.002, 1, platform)
        start_from(simulation, start)
        made[kind] = stepping(simulation, engine)
    return made


def options_of(model: TorsionModel, n: int, widths: int) -> BiasOptions:
    """A grid from the lowest to the highest value of each mode, so many widths long."""
    low, high = np.array(model.ends(range(n))).T
    return BiasOptions(
        width=tuple(((high - low) / widths).tolist()),
        pace_ps=0.2,
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def seconds_per_hill(
    molecule: MolecularSystem, n: int, backend: str, widths: int, platform: openmm.Platform
) -> dict[str, float]:
    """Processor seconds to add one hill and to know c(t) afterwards."""
    model = random_modes(molecule)
    options = options_of(model, n, widths)
    system = openmm.XmlSerializer.clone(molecule.system)
    engine = bias(system, model, n, backend, options)
    simulation = langevin_simulation(molecule, system, 300.0, 0.002, 1, platform)
    simulation.context.setPositions(molecule.positions)
    low, high = np.array(options.ends(n)).T
    times = []
    for center in np.random.default_rng(0).uniform(low, high, (12, n)):
        began = time.process_time()
        if isinstance(engine, NativeMetadynamics):
            engine.add_hill(center, 1.0)
            engine.offset()
        else:
            engine._addGaussian(center, 1.0 * unit.kilojoules_per_mole, simulation.context)
        times.append(time.process_time() - began)
    return summary(np.array(times))


def bias(
    system: openmm.System, model: TorsionModel, n: int, backend: str, options: BiasOptions
) -> NativeMetadynamics | Metadynamics:
    with tempfile.TemporaryDirectory() as folder:
        export(model, list(range(n)), folder)
        forces = mode_forces(Path(folder) / "cv.json", system, backend)
    content = carried_file(forces)
    if content is None:
        return Metadynamics(system, forces, options, PACE)
    return NativeMetadynamics(system, content, options, PACE)


def stepping(
    simulation: app.Simulation, engine: NativeMetadynamics | Metadynamics | None
) -> Callable[[int], object]:
    if engine is None:
        return simulation.step
    return lambda steps: engine.step(simulation, steps)


def measure(
    made: dict[str, Callable[[int], object]], windows: int, seconds: float
) -> dict[str, np.ndarray]:
    """Processor seconds per step of each simulation in each window, (windows,)."""
    times: dict[str, list[float]] = {kind: [] for kind in made}
    for go in made.values():
        go(PACE)
    for _ in range(windows):
        for kind, go in made.items():
            began, steps = time.process_time(), 0
            while time.process_time() - began < seconds:
                go(5 * PACE)
                steps += 5 * PACE
            times[kind].append((time.process_time() - began) / steps)
    return {kind: np.array(found) for kind, found in times.items()}


def summary(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": values.min(), "greatest": values.max()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--windows", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--platforms", nargs="+", default=["Reference", "CPU"])
    arguments = parser.parse_args()
    found = []
    for name in arguments.platforms:
        platform = openmm.Platform.getPlatformByName(name)
        if name == "CPU":
            platform.setPropertyDefaultValue("Threads", "1")
        for solvent in (Solvent.VACUUM, Solvent.IMPLICIT):
            molecule = build_system(built_in_pdb("alanine-dipeptide"), solvent)
            for n in (2, 3):
                made = simulations(molecule, n, platform)
                times = measure(made, arguments.windows, arguments.seconds)
                plain = times["unbiased"]
                row: dict[str, object] = {
                    "platform": name,
                    "solvent": solvent.value,
                    "modes": n,
                    "unbiased_steps_per_s": summary(1.0 / plain),
                }
                for kind in ENGINES:
                    own = times[kind]
                    row[f"{kind}_over_unbiased"] = summary(np.median(plain) / own)
                    row[f"{kind}_seconds_per_hill"] = seconds_per_hill(
                        molecule, n, kind, WIDTHS[n], platform
                    )
                if n == 3:
                    row["native_seconds_per_hill_finer"] = seconds_per_hill(
                        molecule, n, "native", FINER, platform
                    )
                found.append(row)
                print(json.dumps(row), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
