"""Collective variables side by side: same data, same length, same hills.

Alanine dipeptide in vacuum, from one unbiased trajectory of its C7eq basin. Each pair of CVs is
biased by well-tempered metadynamics for 5 ns, once as learned from that trajectory, and once
learned again from the trajectory and its own biased run: the modes of `symplectic-cv adapt`
(its rounds), two principal components, two TICA components (deeptime), two DeepTICA components
(mlcolvar), and φ and ψ, which need no learning. Judged by crossings between the sides of φ = 0
(C7eq and C7ax), by the error of F(φ, ψ) against `reference_free_energy.npz`, and by the slowest
timescale that a Markov model on the CVs sees in another, unbiased trajectory.

    python benchmarks/compare_cvs.py run KIND FOLDER --start TRAJ --system XML [--seed N]
    python benchmarks/compare_cvs.py table FOLDER --adapt LOOP --start TRAJ --kinetics TRAJ

For `deeptica` it needs mlcolvar, which asks for an older Lightning: pip install
--no-deps mlcolvar==1.3.1.
KIND: pca, tica, deeptica or torsions. Runs resume; LOOP is the folder of `symplectic-cv adapt`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import openmm
import torch
from deeptime.clustering import KMeans
from deeptime.decomposition import TICA
from deeptime.markov.msm import MaximumLikelihoodMSM
from openmm import app, unit
from reference_free_energy import PHI, PSI, torsion
from scipy.linalg import null_space

from openmm_plugin import MetadynamicsOptions, metadynamics
from openmm_plugin.biasing.options import HILL_SHARE
from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.checkpoints import CheckpointFolder
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import load_system
from symplectic_cv.bias.blocks import block_of_frames
from symplectic_cv.bias.combined_runs import combine_runs
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.run import BiasedRun, BiasRecord
from symplectic_cv.bias.surfaces import binned_surface, region_difference
from symplectic_cv.bias.weights import running_weights, settled_from
from symplectic_cv.bias.well_tempered import bias_offset
from symplectic_cv.data.descriptors import compute_columns
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.models.model_folder import load_model, save_model
from symplectic_cv.statistics import effective_size
from symplectic_cv.training.likelihood import initial_model
from symplectic_cv.units import thermal_energy

TEMPERATURE, TIME_NS, PACE_PS = 300.0, 5.0, 0.2
KT = thermal_energy(TEMPERATURE)
FACTOR, HEIGHT, FILL = 15.0, 1.0, 40.0
"""Those of `adapt` by default, as the pace is."""
RANGE = (-9.0, 9.0)
TORSION_WIDTH = 0.3
"""rad; a table of 61 points."""
SPACING_PS, LAG_PS = 1.0, 5.0
"""Of TICA's frames."""
TICA_VARIANCE = 0.99
"""Part of the variance that TICA works in."""
STATES, KINETIC_LAG_PS = 150, 5.0
LIMIT = 20.0
POSITIONS = "positions.bin"
"""Of all atoms of each frame, nm, float32."""
REFERENCE = Path(__file__).with_name("reference_free_energy.npz")


def crossings(phi: np.ndarray) -> int:
    """Crossings between −150…−30° and 30…120° of φ (rad), none for trembling at the barrier."""
    degrees = np.degrees(phi)
    core = np.where((degrees > 30) & (degrees < 120), 1, -1)
    core[(degrees > -150) & (degrees < -30)] = 0
    core = core[core >= 0]
    return int((np.diff(core) != 0).sum())


def sign_changes(phi: np.ndarray) -> int:
    """Changes of the sign of φ (rad) from frame to frame near 0, trembling included."""
    changed = np.diff((phi > 0).astype(int)) != 0
    return int((changed & (np.abs(np.diff(phi)) < np.pi)).sum())


def against_reference(
    phi: np.ndarray, psi: np.ndarray, weights: np.ndarray, lengths: list[int]
) -> dict[str, float]:
    """RMS error of F(φ, ψ) below 20 kJ/mol after alignment, bins missed, ΔG and its errors."""
    with np.load(REFERENCE) as archive:
        exact, delta = archive["free_energy"], float(archive["c7ax_minus_c7eq"])
        bins = len(archive["phi"])
    blocks = block_of_frames(lengths)
    both = np.stack([phi, psi], 1)
    found = binned_surface(both, weights, [(-np.pi, np.pi)] * 2, ["phi", "psi"], KT, blocks, bins)
    low = exact < LIMIT
    seen = low & np.isfinite(found.free_energy)
    off = found.free_energy[seen] - exact[seen]
    side = (phi > 0) & (phi < np.radians(140))
    change = region_difference(side, ~side, weights, KT, blocks)
    return {
        "rms": float(off.std()),
        "missed": int(low.sum() - seen.sum()),
        "delta_error": change.value - delta,
        "standard_error": change.error,
        "interval": change.interval,
        "effective_frames": effective_size(weights),
    }


def linear_model(data: list[TrajectoryData], kind: str, spacings: list[float]):
    """A model whose slowest modes are principal or TICA components; its couplings do nothing."""
    positions = np.concatenate([part.positions for part in data])
    share = np.concatenate([np.full(part.n_frames, 1.0 / part.n_frames) for part in data])
    model, q = initial_model(
        positions, data[0].molecule, TEMPERATURE, FlowOptions(layers=1, hidden=8), weights=share
    )
    if kind == "tica":
        pieces, first = [], 0
        for part, spacing in zip(data, spacings, strict=True):
            stride = max(1, round(SPACING_PS / spacing))
            pieces.append(q[first : first + part.n_frames : stride].numpy())
            first += part.n_frames
        lag = round(LAG_PS / SPACING_PS)
        # of the stiffest directions too, TICA finds components whose forces no time step stands
        tica = TICA(lagtime=lag, var_cutoff=TICA_VARIANCE, scaling=None).fit_fetch(pieces)
        mean = np.concatenate(pieces).mean(0)
        origin = tica.transform(mean[None])
        # the transform is affine: its matrix from the unit vectors
        slow = tica.transform(mean + np.eye(q.shape[1])) - origin
        matrix = np.hstack([slow, null_space(slow.T)])
        normal = model.flow.layers[0]
        normal.rotation.copy_(torch.as_tensor(matrix, dtype=normal.rotation.dtype))
        normal.shift.copy_(torch.as_tensor(mean, dtype=normal.shift.dtype))
        order = model.flow.layers[-1]
        order.order.copy_(torch.arange(q.shape[1]))
        order.inverse_order.copy_(torch.arange(q.shape[1]))
        with torch.no_grad():
            model.prior.log_omega.copy_(-torch.log(model.encode(torch.as_tensor(positions)).std(0)))
    else:
        model.settle(q.to(torch.float32), torch.as_tensor(share))
    return model


def biased(model: Path, system: Path, folder: Path, seed: int) -> None:
    options = MetadynamicsOptions(
        time_ns=TIME_NS,
        bias_factor=FACTOR,
        height=HEIGHT,
        fill=FILL,
        pace_ps=PACE_PS,
        range=RANGE,
        seed=seed,
    )
    metadynamics(model, system, options=options, folder=folder, resume=folder.exists())


def run_linear(kind: str, folder: Path, start: str, system: Path, seed: int) -> None:
    """Two rounds of principal or TICA components."""
    top = system.with_name("topology.pdb")
    sources, spacings = [start], [0.2]
    for number in (1, 2):
        place = folder / f"round-{number}"
        if not (place / "model" / "config.json").is_file():
            data = [read_trajectories([source], top) for source in sources]
            save_model(place / "model", linear_model(data, kind, spacings))
        biased(place / "model", system, place / "metadynamics", seed + number - 1)
        sources.append(str(place / "metadynamics" / "trajectory.xtc"))
        spacings.append(PACE_PS)


def run_torsions(folder: Path, system: Path, seed: int) -> None:
    """Metadynamics of φ and ψ, periodic."""
    variables = [
        app.BiasVariable(torsion(atoms), -np.pi, np.pi, TORSION_WIDTH, True, 61)
        for atoms in (PHI, PSI)
    ]
    run_variables(folder / "round-0", variables, system, seed)


def run_deep_tica(folder: Path, start: str, system: Path, seed: int) -> None:
    """Two rounds of DeepTICA components, hills by the rule of `metadynamics`."""
    from deep_tica import learn

    data = read_trajectories([start], system.with_name("topology.pdb"))
    atoms, stride = data.molecule.indices, round(SPACING_PS / PACE_PS)
    pieces = [data.positions[::stride]]
    for number in (1, 2):
        network = learn(pieces, atoms, round(LAG_PS / SPACING_PS), 2, seed + number - 1)
        spread = network.of_frames(pieces[0]).std(0)  # within the basin of the start
        widths = [float(HILL_SHARE * one) for one in spread]
        points = BiasGrid.for_widths(*RANGE, widths).points
        variables = [
            app.BiasVariable(force, *RANGE, width, False, number)
            for force, width, number in zip(network.forces(), widths, points, strict=True)
        ]
        place = folder / f"round-{number}"
        run_variables(place, variables, system, seed + number - 1)
        network.save(place / "network.npz")
        seen = np.fromfile(place / POSITIONS, np.float32).reshape(
            -1, data.molecule.n_system_atoms, 3
        )
        pieces.append(seen[::stride, atoms])


def run_variables(folder: Path, variables: list[app.BiasVariable], system: Path, seed: int) -> None:
    """OpenMM's metadynamics; colvar.csv holds φ, ψ (rad), V and c(t) of each frame."""
    folder.mkdir(parents=True, exist_ok=True)
    molecule = load_system(system)
    biased_system = openmm.XmlSerializer.clone(molecule.system)
    pace = round(PACE_PS / 0.002)
    meta = app.Metadynamics(biased_system, variables, TEMPERATURE, FACTOR, HEIGHT, pace)
    platform = choose_platform("Reference", biased_system.getNumParticles())
    simulation = langevin_simulation(molecule, biased_system, TEMPERATURE, 0.002, seed, platform)
    colvar, frames = folder / "colvar.csv", folder / POSITIONS
    checkpoints = CheckpointFolder(folder / "checkpoint", [colvar, frames])
    kept = checkpoints.restore(simulation)
    if kept is None:
        start_from(simulation, relaxed_state(molecule, TEMPERATURE, 0.002, seed, platform))
        colvar.write_text("time_ps,phi,psi,bias_kj_per_mol,c_kj_per_mol\n")
        frames.write_bytes(b"")
    else:
        table = kept[0]["bias"]
        meta._selfBias[:], meta._totalBias[:] = table, table
        meta._table.setFunctionParameters(*meta._widths, table.flatten(), *meta._limits)
        meta._force.updateParametersInContext(simulation.context)
    group = {meta._force.getForceGroup()}
    with open(colvar, "a") as handle, open(frames, "ab") as positions:
        for frame in range(simulation.currentStep // pace + 1, round(TIME_NS * 1000 / PACE_PS) + 1):
            simulation.step(pace)
            state = simulation.context.getState(energy=True, positions=True, groups=group)
            energy = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
            x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer).astype(np.float32)
            variable = meta.getCollectiveVariables(simulation)
            offset = bias_offset(meta._totalBias, FACTOR, KT)
            height = HEIGHT * np.exp(-energy / KT / (FACTOR - 1.0))
            if offset < FILL:
                meta._addGaussian(variable, height * unit.kilojoules_per_mole, simulation.context)
            row = [frame * PACE_PS, *angles(x), energy, offset]
            handle.write(",".join(f"{value:.8g}" for value in row) + "\n")
            positions.write(x.tobytes())
            if frame % 250 == 0:
                handle.flush()
                positions.flush()
                checkpoints.save(simulation, {"bias": np.array(meta._totalBias)})


def angles(positions: np.ndarray) -> list[float]:
    """φ and ψ of one structure (N, 3), rad."""
    found = []
    for atoms in (PHI, PSI):
        a, b, c = np.diff(positions[list(atoms)].astype(np.float64), axis=0)
        found.append(
            float(
                np.arctan2(np.linalg.norm(b) * a @ np.cross(b, c), np.cross(a, b) @ np.cross(b, c))
            )
        )
    return found


def timescale(values: np.ndarray, spacing_ps: float, seed: int = 0) -> float:
    """Slowest implied timescale in ps of a Markov model on CVs (F, D), at a lag of 5 ps."""
    scaled = values / values.std(0)
    states = KMeans(STATES, fixed_seed=seed, n_jobs=1).fit_fetch(scaled).transform(scaled)
    lag = round(KINETIC_LAG_PS / spacing_ps)
    msm = MaximumLikelihoodMSM(lagtime=lag).fit_fetch(states)
    return float(msm.timescales(1)[0] * spacing_ps)


def judged(folder: Path) -> dict[str, float]:
    """The numbers by which a biased run is judged; crossings are those of its first 5 ns."""
    if (folder / POSITIONS).is_file():  # OpenMM's metadynamics, by `run_variables`
        table = np.genfromtxt(folder / "colvar.csv", delimiter=",", names=True)
        series = table["bias_kj_per_mol"] - table["c_kj_per_mol"]
        settled = settled_from(series)
        phi, psi = table["phi"], table["psi"]
        weights = running_weights(series[settled:], 0.0 * series[settled:], KT)
        lengths = [len(weights)]
        rest = slice(settled, None)
    else:
        run = BiasedRun.read(folder / "metadynamics")
        data = read_trajectories([folder / "metadynamics" / "trajectory.xtc"])
        phi, psi = (c.values for c in compute_columns(data.positions, data.molecule))
        combined = combine_runs([run])
        weights, lengths, rest = combined.weights, combined.lengths, combined.kept
    first = round(TIME_NS * 1000 / PACE_PS)
    found = {
        "crossings": crossings(phi[:first]),
        "sign_changes": sign_changes(phi[:first]),
        "ns": len(phi) * PACE_PS / 1000,
    }
    return found | against_reference(phi[rest], psi[rest], weights, lengths)


def components(folder: Path, data: TrajectoryData) -> np.ndarray:
    """The CVs that were biased in a folder, on other frames, (F, D)."""
    if (folder / "model").is_dir():
        model = load_model(folder / "model")
        record = BiasRecord.read(folder / "metadynamics")
        modes = [int(name.removeprefix("mode_")) for name in record.modes]
        with torch.no_grad():
            values = model.collective_variables(torch.as_tensor(data.positions), modes)
        return values.numpy().astype(np.float64)
    if (folder / "network.npz").is_file():
        from deep_tica import DistanceNetwork

        return DistanceNetwork.load(folder / "network.npz").of_frames(data.positions)
    columns = compute_columns(data.positions, data.molecule)
    both = np.stack([column.values for column in columns], 1)
    return np.concatenate([np.cos(both), np.sin(both)], 1)


def table(folder: Path, loops: list[Path], kinetics: str, spacing: float) -> None:
    """Writes compare_cvs.csv beside this script."""
    data = read_trajectories([kinetics])
    sources = [("modes", loop) for loop in loops]
    sources += [
        (kind, path)
        for kind in ("torsions", "pca", "tica", "deeptica")
        for path in sorted(folder.glob(f"{kind}-*"))
    ]
    rows = []
    for kind, path in sources:
        for place in sorted(path.glob("round-*")):
            finished = [place / "network.npz", place / "metadynamics" / "free_energy.npz"]
            if kind != "torsions" and not any(file.is_file() for file in finished):
                continue
            row = {"cv": kind, "round": int(place.name[6:]), "run": path.name} | judged(place)
            row["timescale"] = timescale(components(place, data), spacing)
            rows.append(row)
            print(row, flush=True)
    target = Path(__file__).with_name("compare_cvs.csv")
    with open(target, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("kind", choices=["pca", "tica", "deeptica", "torsions"])
    runs.add_argument("folder", type=Path)
    runs.add_argument("--start", help="unbiased trajectory, a frame each 0.2 ps")
    runs.add_argument("--system", type=Path, required=True)
    runs.add_argument("--seed", type=int, default=1)
    tables = commands.add_parser("table")
    tables.add_argument("folder", type=Path)
    tables.add_argument("--adapt", type=Path, nargs="*", default=[])
    tables.add_argument("--kinetics", required=True, help="unbiased trajectory")
    tables.add_argument("--spacing-ps", type=float, default=0.24)
    given = parser.parse_args()
    if given.action == "table":
        table(given.folder, given.adapt, given.kinetics, given.spacing_ps)
        sys.exit()
    place = given.folder / f"{given.kind}-{given.seed}"
    if given.kind == "torsions":
        run_torsions(place, given.system, given.seed)
    elif given.kind == "deeptica":
        run_deep_tica(place, given.start, given.system, given.seed)
    else:
        run_linear(given.kind, place, given.start, given.system, given.seed)
