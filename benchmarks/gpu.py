"""What only a GPU can show: whether all backends agree there, and how fast everything is.

    python benchmarks/gpu.py prepare          the data: frames of alanine dipeptide, models
    python benchmarks/gpu.py all              every section below, then the table
    python benchmarks/gpu.py where            the machine, and what the project says of it
    python benchmarks/gpu.py agreement KIND   values and forces of a backend against float64
    python benchmarks/gpu.py broken           structures without a value are errors
    python benchmarks/gpu.py explicit         steps per second of alanine dipeptide in water
    python benchmarks/gpu.py protein          … of villin in water
    python benchmarks/gpu.py train            training on the CPU and on the GPU
    python benchmarks/gpu.py energies         energies of many structures
    python benchmarks/gpu.py table            the numbers in results.json

Numbers go to results.json in the folder $OUT (the present one) as they come. The data lie in
$SCV_DATA (gpu-data). SCV_PLATFORM and SCV_DEVICE name another platform and device than CUDA, and
SCV_SHORT=1 makes everything short: a rehearsal without a GPU. SCV_KINDS names the kinds of bias
that are timed, with commas, and SCV_SELECTIONS the models of villin (CA, backbone).
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENMM_CPU_THREADS", "1")
import numpy as np
import openmm
import torch
from filelock import FileLock
from openmm import app, unit

OUT = Path(os.environ.get("OUT", "."))
DATA = Path(os.environ.get("SCV_DATA", "gpu-data")).resolve()
PLATFORM = os.environ.get("SCV_PLATFORM", "CUDA")
DEVICE = os.environ.get("SCV_DEVICE", "cuda")
SHORT = os.environ.get("SCV_SHORT") == "1"
HOST = "SYMPLECTIC_CV_HOST_FORCES"
BACKENDS = ("native", "native on the host", "python", "torchforce", "torsion modes")
TIMESTEP = 0.002
PACE = 500
KJ = unit.kilojoules_per_mole


def record(section: str, **values: Any) -> None:
    """Adds values to a section of results.json, which other processes may write too."""
    path = OUT / "results.json"
    with FileLock(OUT / "results.json.lock"):
        known = json.loads(path.read_text()) if path.is_file() else {}
        known.setdefault(section, {}).update(values)
        path.write_text(json.dumps(known, indent=1, default=float) + "\n")
    for name, value in values.items():
        print(f"[{section}] {name}: {shown(value)}", flush=True)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(number)}" for key, number in value.items())
    return str(value)


def attempt(section: str, name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; an error becomes a recorded value."""
    try:
        return work()
    except Exception as error:
        record(section, **{f"{name} FAILED": f"{type(error).__name__}: {str(error)[:600]}"})
        return None


def platform_and(precision: str | None = None) -> tuple[openmm.Platform, dict[str, str]]:
    platform = openmm.Platform.getPlatformByName(PLATFORM)
    known = "Precision" in platform.getPropertyNames()
    return platform, ({"Precision": precision} if precision and known else {})


@contextmanager
def place_of(kind: str) -> Iterator[None]:
    """Native forces are evaluated on the host inside, for a kind that says so."""
    if "on the host" in kind:
        os.environ[HOST] = "1"
    try:
        yield
    finally:
        os.environ.pop(HOST, None)


def forces_of(kind: str, system: openmm.System) -> list[openmm.Force]:
    """One force per mode, of a kind whose name begins with a backend."""
    from openmm_plugin.forces import mode_forces

    if kind.startswith("torsion modes"):
        return mode_forces(DATA / "torsion/cv.json", system, "openmm")
    return mode_forces(model_file(), system, kind.split()[0])


def model_file() -> Path:
    return Path(os.environ.get("SCV_CV", DATA / "model/cv.pt"))


# --- where: what the machine is, and what the project says of it


def where() -> None:
    names = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    failures = [text.strip() for text in openmm.Platform.getPluginLoadFailures()]
    record(
        "where",
        python=sys.version.split()[0],
        torch=torch.__version__,
        cuda_of_torch=str(torch.version.cuda),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        openmm=openmm.__version__,
        platforms=names,
        plugins_not_loaded=failures,
    )
    import symplectic_cv
    from openmm_plugin import versions

    record(
        "where",
        installed_in=str(Path(symplectic_cv.__file__).parent),
        torchforce=str(versions.installed_version(*versions.TORCHFORCE_PACKAGES)),
        backend_auto=versions.choose_backend("auto"),
    )
    platform, _ = platform_and()
    record("where", devices=[dict(device.items()) for device in platform.getDevices()])
    system = openmm.System()
    system.addParticle(1.0)
    begin = time.perf_counter()
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    record("where", first_context_s=time.perf_counter() - begin)
    record(
        "where",
        properties={n: platform.getPropertyValue(context, n) for n in platform.getPropertyNames()},
    )


# --- agreement: every backend on the GPU against float64


def explicit_dipeptide() -> Any:
    from openmm_plugin.systems import Solvent, build_system, built_in_pdb

    return build_system(built_in_pdb("alanine-dipeptide"), Solvent.EXPLICIT)


def box_of(molecule: Any) -> np.ndarray:
    """Box vectors (3, 3) in nm."""
    vectors = molecule.system.getDefaultPeriodicBoxVectors()
    return np.array([list(vector.value_in_unit(unit.nanometer)) for vector in vectors])


def test_frames(molecule: Any, count: int) -> np.ndarray:
    """Structures of the molecule's system whose solute is that of frames of the training data; in a
    box each atom is wrapped by itself, and the solute lies across a corner."""
    import mdtraj as md

    trajectory = md.load(str(DATA / "md/trajectory.xtc"), top=str(DATA / "md/topology.pdb"))
    chosen = trajectory.xyz[:: max(1, len(trajectory) // count)][:count].astype(np.float64)
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    frames = np.repeat(x[None], len(chosen), 0)
    solute = chosen.shape[1]
    frames[:, :solute] = chosen - chosen.mean(1, keepdims=True)
    if molecule.periodic:
        edge = box_of(molecule).diagonal()
        frames -= np.floor(frames / edge) * edge
    else:
        frames[:, :solute] += 1.0
    # what a context in single precision can hold
    return frames.astype(np.float32).astype(np.float64)


def free_particles(molecule: Any) -> openmm.System:
    """A System of the molecule's atoms and box without interactions."""
    system = openmm.System()
    for k in range(molecule.system.getNumParticles()):
        system.addParticle(molecule.system.getParticleMass(k))
    if molecule.periodic:
        system.setDefaultPeriodicBoxVectors(*molecule.system.getDefaultPeriodicBoxVectors())
        filler = openmm.NonbondedForce()  # makes the system periodic
        filler.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        filler.setCutoffDistance(0.5)
        for _ in range(system.getNumParticles()):
            filler.addParticle(0.0, 1.0, 0.0)
        system.addForce(filler)
    return system


def array(forces: Any) -> np.ndarray:
    return np.asarray(forces.value_in_unit(KJ / unit.nanometer))


def agreement(kind: str) -> None:
    """Of one backend: a process each, so that one that hangs leaves the others alone."""
    from openmm_plugin.systems import Solvent, build_system, built_in_pdb

    vacuum = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    with place_of(kind):
        agreement_in("vacuum", vacuum, kind)
        agreement_in("explicit", explicit_dipeptide(), kind)
    record("agreement", **{f"{kind} came to its end": True})


def reference_modes(kind: str, molecule: Any, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (F, modes) and gradients (F, modes, N, 3) in float64."""
    from symplectic_cv.exporting.native_core import load_core

    if not kind.startswith("torsion modes"):
        core = load_core(model_file().with_suffix(".safetensors"))
        box = box_of(molecule) if molecule.periodic else None
        right = [core.values_and_gradients(x[None], box=box) for x in frames]
        return np.array([v[0] for v, _ in right]), np.array([g[0] for _, g in right])
    system = free_particles(molecule)
    for group, force in enumerate(forces_of(kind, system)):
        force.setForceGroup(group + 1)
        system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    values, slopes = [], []
    for x in frames:
        context.setPositions(x)
        states = [context.getState(energy=True, forces=True, groups={k}) for k in (1, 2)]
        values.append([state.getPotentialEnergy().value_in_unit(KJ) for state in states])
        slopes.append([-array(state.getForces(asNumpy=True)) for state in states])
    return np.array(values), np.array(slopes)


def agreement_in(case: str, molecule: Any, kind: str) -> None:
    """Values and forces, in the System itself and inside a CustomCVForce."""
    frames = test_frames(molecule, 4 if SHORT else 12)
    values, slopes = reference_modes(kind, molecule, frames)

    def apart(precision: str) -> None:
        platform, properties = platform_and(precision)
        system = free_particles(molecule)
        for group, force in enumerate(forces_of(kind, system)):
            force.setForceGroup(group + 1)
            system.addForce(force)
        begin = time.perf_counter()
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)
        off, slope, first = 0.0, 0.0, None
        for f, x in enumerate(frames):
            context.setPositions(x)
            for mode in range(values.shape[1]):
                state = context.getState(energy=True, forces=True, groups={mode + 1})
                energy = state.getPotentialEnergy().value_in_unit(KJ)
                forces = array(state.getForces(asNumpy=True))
                off = max(off, abs(energy - values[f, mode]))
                scale = np.abs(slopes[f, mode]).max()
                slope = max(slope, np.abs(forces + slopes[f, mode]).max() / scale)
            first = first or time.perf_counter() - begin
        found = {"value_off": off, "force_off_relative": slope, "first_evaluation_s": first}
        record("agreement", **{f"{case} {kind} {precision}": found})

    def inside() -> None:
        platform, properties = platform_and("mixed")
        system = free_particles(molecule)
        cvs = forces_of(kind, system)
        bias = openmm.CustomCVForce(" + ".join(f"{k + 1}*cv{k}^2" for k in range(len(cvs))))
        for k, force in enumerate(cvs):
            bias.addCollectiveVariable(f"cv{k}", force)
        system.addForce(bias)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)
        off, slope = 0.0, 0.0
        for f, x in enumerate(frames):
            context.setPositions(x)
            found = np.array(bias.getCollectiveVariableValues(context))
            off = max(off, np.abs(found - values[f]).max())
            forces = array(context.getState(forces=True).getForces(asNumpy=True))
            factor = 2.0 * (np.arange(len(cvs)) + 1) * values[f]
            wanted = -(factor[:, None, None] * slopes[f]).sum(0)
            slope = max(slope, np.abs(forces - wanted).max() / np.abs(wanted).max())
        found = {"value_off": off, "force_off_relative": slope}
        record("agreement", **{f"{case} {kind} in CustomCVForce mixed": found})

    precisions = ["double", "mixed"] if platform_and("single")[1] else ["as it is"]
    if kind == "native" and len(precisions) == 2:
        precisions.append("single")
    for precision in precisions:
        attempt("agreement", f"{case} {kind} {precision}", lambda p=precision: apart(p))
    attempt("agreement", f"{case} {kind} in CustomCVForce", inside)
    if kind.startswith("native"):
        for precision in precisions[:2]:
            name = f"{case} own grid{kind[6:]} {precision}"
            attempt(
                "agreement",
                name,
                functools.partial(own_grid, name, free_particles(molecule), frames, precision),
            )


def own_grid(name: str, system: openmm.System, frames: np.ndarray, precision: str) -> None:
    """The force that holds the bias: on the GPU against the Reference platform."""
    from openmm_plugin.biasing.native_engine import NativeMetadynamics
    from openmm_plugin.biasing.options import BiasOptions

    content = model_file().with_suffix(".safetensors").read_bytes()
    meta = NativeMetadynamics(system, content, BiasOptions(width=(0.3, 0.3)), PACE)
    rng = np.random.default_rng(0)
    found: dict[str, list[Any]] = {"Reference": [], PLATFORM: []}
    contexts = {}
    for place in found:
        platform = openmm.Platform.getPlatformByName(place)
        properties = platform_and(precision)[1] if place == PLATFORM else {}
        contexts[place] = openmm.Context(
            system, openmm.VerletIntegrator(0.001), platform, properties
        )
    for x in frames:
        for _ in range(20):  # the bias changes from frame to frame
            meta.add_hill(1.5 * rng.normal(size=2), 1.0)
        for place, context in contexts.items():
            context.setPositions(x)
            state = context.getState(energy=True, forces=True)
            forces = array(state.getForces(asNumpy=True))
            found[place].append((state.getPotentialEnergy().value_in_unit(KJ), forces))
    pairs = list(zip(*found.values(), strict=True))
    scale = max(np.abs(a[1]).max() for a, _ in pairs)
    record(
        "agreement",
        **{
            name: {
                "value_off": float(max(abs(a[0] - b[0]) for a, b in pairs)),
                "force_off_relative": float(
                    max(np.abs(a[1] - b[1]).max() for a, b in pairs) / scale
                ),
            }
        },
    )


# --- broken: a structure without a value must be an error, and the context must go on after it


def broken() -> None:
    """Each kind in a process of its own: an exception in OpenMM's worker thread may end it."""
    kinds = ("own", "native", "python", "torchforce")
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "broken-one", kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for kind in kinds
    ]
    for kind, process in zip(kinds, running, strict=True):
        try:
            lines = process.communicate(timeout=80)[0].strip().splitlines()
        except subprocess.TimeoutExpired:
            process.kill()
            record("broken", **{kind: "HANGS"})
            continue
        said = [line for line in lines if line.startswith("RESULT")]
        ended = f"exit status {process.returncode}: {lines[-3:]}"
        record("broken", **{kind: said[-1][7:] if said else ended})


def broken_one(kind: str) -> None:
    from openmm_plugin.biasing.native_engine import NativeMetadynamics
    from openmm_plugin.biasing.options import BiasOptions
    from openmm_plugin.systems import Solvent, build_system, built_in_pdb

    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    system = free_particles(molecule)
    if kind == "own":
        content = model_file().with_suffix(".safetensors").read_bytes()
        meta = NativeMetadynamics(system, content, BiasOptions(width=(0.3, 0.3)), PACE)
        meta.add_hill(np.zeros(2), 5.0)
    else:
        bias = openmm.CustomCVForce("a^2+b^2")
        for name, force in zip("ab", forces_of(kind, system), strict=True):
            bias.addCollectiveVariable(name, force)
        system.addForce(bias)
    platform, properties = platform_and("mixed")
    integrator = openmm.VerletIntegrator(1e-5)
    context = openmm.Context(system, integrator, platform, properties)
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))

    def look() -> tuple[float, Any]:
        context.setPositions(x)
        context.setVelocities(np.zeros_like(x))
        state = context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    before = look()
    torn = x.copy()
    torn[6] = np.nan
    words = []
    # the modes of atoms that all lie in one point have no value, their positions are finite
    for what, positions in (("NaN", torn), ("one point", np.zeros_like(x))):
        for how, move in (
            ("getState", lambda: context.getState(energy=True, forces=True)),
            ("400 steps", lambda: integrator.step(400)),
        ):
            context.setPositions(positions)
            try:
                move()
                words.append(f"{what}, {how}: NO ERROR")
            except Exception as error:
                words.append(f"{what}, {how}: {type(error).__name__}")
                print(f"{kind}, {what}, {how}: {error}")
    after = look()
    off = abs(after[0] - before[0]) + float(np.abs(after[1] - before[1]).max())
    context.setPositions(x)
    integrator.step(100)
    print(f"RESULT {'; '.join(words)}; afterwards off by {off:.2g} kJ/mol, and it runs on")


# --- speed: metadynamics with every kind of force


def relaxed(molecule: Any, platform: openmm.Platform) -> openmm.State:
    """Minimised, and 20 ps of dynamics after that (0.2 ps in a rehearsal)."""
    from openmm_plugin.running import simulation

    if not SHORT:
        return simulation.relaxed_state(molecule, 300.0, TIMESTEP, 0, platform)
    simulation.EQUILIBRATION = 0.2
    return simulation.relaxed_state(molecule, 300.0, TIMESTEP, 0, platform, every_ps=0.2)


def backbone_bias(system: openmm.System, quads: list[list[int]]) -> app.Metadynamics:
    """OpenMM's metadynamics of two torsions: what a bias costs where the variables cost nothing."""
    variables = []
    for quad in quads:
        force = openmm.CustomTorsionForce("theta")
        force.addTorsion(*quad)
        force.setUsesPeriodicBoundaryConditions(True)
        variables.append(
            app.BiasVariable(force, -3.14159265, 3.14159265, 0.35, periodic=True, gridWidth=121)
        )
    return app.Metadynamics(
        system, variables, 300.0 * unit.kelvin, 10.0, 1.0 * unit.kilojoules_per_mole, PACE
    )


def biased(
    kind: str, molecule: Any, state: openmm.State, quads: list[list[int]], precision: str
) -> tuple[app.Simulation, Callable[[int], Any]]:
    """A simulation with a bias of this kind, and what moves it on."""
    from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
    from openmm_plugin.biasing.openmm_engine import Metadynamics
    from openmm_plugin.biasing.options import BiasOptions
    from openmm_plugin.forces import mode_forces
    from openmm_plugin.running.simulation import langevin_simulation, start_from

    platform, properties = platform_and(precision)
    for name, value in properties.items():
        platform.setPropertyDefaultValue(name, value)
    options = BiasOptions(timestep_fs=1000 * TIMESTEP, width=(0.3, 0.3))
    system = openmm.XmlSerializer.clone(molecule.system)
    meta: Any = None
    if kind.startswith("own torsion modes"):
        content = carried_file(mode_forces(DATA / "torsion/cv.json", system, "native"))
        assert content is not None
        meta = NativeMetadynamics(system, content, options, PACE)
    elif kind.startswith("own"):
        content = model_file().with_suffix(".safetensors").read_bytes()
        meta = NativeMetadynamics(system, content, options, PACE)
    elif kind == "phi and psi":
        meta = backbone_bias(system, quads)
    elif "lone mode" in kind:  # no bias: what one mode in the System costs
        force = forces_of(kind, system)[0]
        if "graphs" in kind:
            force.setProperty("useCUDAGraphs", "true")
        system.addForce(force)
    elif kind != "unbiased":
        meta = Metadynamics(system, forces_of(kind, system), options, PACE)
    with place_of(kind):
        simulation = langevin_simulation(molecule, system, 300.0, TIMESTEP, 0, platform)
        start_from(simulation, state)
    if meta is None:
        return simulation, simulation.step
    return simulation, lambda n: meta.step(simulation, n)


def speeds(
    section: str, molecule: Any, quads: list[list[int]], precision: str, kinds: tuple[str, ...]
) -> None:
    """Steps per second, by wall clock, in turns; medians of three windows."""
    budget = 0.2 if SHORT else 0.8
    platform, _ = platform_and(precision)
    state = relaxed(molecule, platform)

    def run(simulation: app.Simulation, move: Callable[[int], Any], steps: int) -> float:
        simulation.context.getState(positions=True)
        begin = time.perf_counter()
        move(steps)
        simulation.context.getState(positions=True)  # what a GPU has yet to do
        return time.perf_counter() - begin

    made: dict[str, Any] = {}
    steps: dict[str, int] = {}
    wanted = os.environ.get("SCV_KINDS", "").split(",")
    for kind in (kind for kind in kinds if wanted == [""] or kind in wanted):
        found = attempt(
            section,
            f"{precision} {kind}",
            lambda kind=kind: biased(kind, molecule, state, quads, precision),
        )
        if found is None:
            continue

        def warm(kind: str = kind, found: Any = found) -> None:
            first = run(*found, 20)  # TorchScript compiles in its first calls
            run(*found, 20)
            rate = 20 / run(*found, 20)
            steps[kind] = max(20, min(8 * PACE, int(rate * budget)))
            steps[kind] = steps[kind] // PACE * PACE or steps[kind]
            run(*found, min(steps[kind], PACE))
            made[kind] = found
            record(section, **{f"{precision} {kind} first 20 steps s": first})

        attempt(section, f"{precision} {kind}", warm)
    rates: dict[str, list[float]] = {kind: [] for kind in made}
    for turn in range(3):
        for kind, found in made.items():
            seconds = attempt(
                section, f"{precision} {kind}", lambda f=found, k=kind: run(*f, steps[k])
            )
            if seconds:
                rates[kind].append(steps[kind] / seconds)
        if turn == 1:  # for a run that is cut short
            record_rates(section, precision, rates)
    record_rates(section, precision, rates)


def record_rates(section: str, precision: str, rates: dict[str, list[float]]) -> None:
    """Medians of the windows so far, and shares of the unbiased rate."""
    for kind, values in rates.items():
        if not values:
            continue
        line = {"steps_per_s": statistics.median(values), "min": min(values), "max": max(values)}
        line["ns_per_day"] = line["steps_per_s"] * TIMESTEP * 86.4
        if rates.get("unbiased"):
            base = statistics.median(rates["unbiased"])
            line["fraction_of_unbiased"] = line["steps_per_s"] / base
            line["microseconds_more_per_step"] = 1e6 / line["steps_per_s"] - 1e6 / base
        record(section, **{f"{precision} {kind}": line})


ALL_KINDS = (
    "unbiased",
    "own",
    "own on the host",
    "own torsion modes",
    "phi and psi",
    "torsion modes",
    "native",
    "native on the host",
    "native lone mode",
    "native on the host lone mode",
    "torsion modes lone mode",
    "python",
    "torchforce",
    "torchforce lone mode",
    "torchforce lone mode graphs",
)


def explicit() -> None:
    torch.set_num_threads(1)
    molecule = explicit_dipeptide()
    record("explicit", atoms=molecule.system.getNumParticles())
    quads = [[4, 6, 8, 14], [6, 8, 14, 16]]  # φ and ψ
    kinds = ("unbiased", "own", "phi and psi", "torsion modes", "native") if SHORT else ALL_KINDS
    speeds("explicit", molecule, quads, "mixed", kinds)
    if not SHORT:
        single = ("unbiased", "own", "own torsion modes", "phi and psi", "torsion modes")
        speeds("explicit", molecule, quads, "single", single)


def protein() -> None:
    """Villin in water, 8867 atoms, from OpenMM's own files; a model of its Cα atoms and one of its
    backbone, made around a short run (their weights as large as training leaves them)."""
    import mdtraj as md

    import symplectic_cv as sc
    from openmm_plugin.running.simulation import langevin_simulation, start_from
    from openmm_plugin.systems import Solvent, build_system, read_pdb
    from symplectic_cv.flows.options import FlowOptions
    from symplectic_cv.training.likelihood import initial_model

    torch.set_num_threads(1)
    pdb = read_pdb(Path(app.__file__).parent / "data" / "test.pdb")
    molecule = build_system(pdb, Solvent.EXPLICIT)
    platform, _ = platform_and("mixed")
    state = relaxed(molecule, platform)
    simulation = langevin_simulation(molecule, molecule.system, 300.0, TIMESTEP, 0, platform)
    start_from(simulation, state)
    topology = md.Topology.from_openmm(molecule.topology)
    whole = []
    begin = time.perf_counter()
    for _ in range(130 if SHORT else 400):
        simulation.step(2 if SHORT else 50)
        x = simulation.context.getState(positions=True, enforcePeriodicBox=False)
        whole.append(np.asarray(x.getPositions(asNumpy=True).value_in_unit(unit.nanometer)))
    del simulation
    record("protein", atoms=molecule.system.getNumParticles(), frames_s=time.perf_counter() - begin)
    molecule.positions = whole[-1] * unit.nanometer
    backbone = [atom.index for atom in topology.atoms if atom.name in ("N", "CA", "C")][6:12]
    quads = [backbone[0:4], backbone[1:5]]
    choices = {"CA": "name CA", "backbone": "name N CA C"}
    for name in set(choices) - set(os.environ.get("SCV_SELECTIONS", "CA,backbone").split(",")):
        del choices[name]
    for name, selection in choices.items():
        atoms = sc.select_atoms(topology, selection)
        frames = np.array([x[atoms.indices] for x in whole])
        model, _ = initial_model(frames, atoms, 300.0, FlowOptions(layers=8, hidden=128))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.flow.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        folder = Path(tempfile.mkdtemp())
        sc.export(model.eval().requires_grad_(False), [0, 1], folder / "cv.pt")
        os.environ["SCV_CV"] = str(folder / "cv.pt")
        section = f"protein {name}"
        record(section, modelled_atoms=atoms.n_atoms, dimension=3 * atoms.n_atoms - 6)
        kinds: tuple[str, ...] = ("unbiased", "own", "own on the host", "phi and psi", "native")
        if name == "CA" and not SHORT:
            kinds = (*kinds, "native on the host", "python")
        speeds(section, molecule, quads, "mixed", kinds)


# --- the table


def goal_of(name: str) -> tuple[float, float] | None:
    """The largest differences of a value and, relative, of a force, by issue and precision."""
    if "double" in name:
        return 1e-5, 1e-4
    return None if "single" in name else (1e-3, 1e-2)


def rows_of(known: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What was measured, its value, and the goal with `met` or `NOT MET`."""
    for section, part in known.items():
        if section == "seconds":
            continue
        for name, value in part.items():
            goal = ""
            if section == "agreement" and isinstance(value, dict):
                limits = goal_of(name)
                if limits is not None:
                    met = (
                        value["value_off"] <= limits[0] and value["force_off_relative"] <= limits[1]
                    )
                    goal = f"≤ {limits[0]:g}, {limits[1]:g}: {'met' if met else 'NOT MET'}"
            elif isinstance(value, dict) and "fraction_of_unbiased" in value:
                goal = speed_goal(section, name, value, part)
            yield f"{section} {name}", shown(value), goal


def speed_goal(section: str, name: str, value: dict[str, float], part: dict[str, Any]) -> str:
    precision, kind = name.split(" ", 1)
    share = value["fraction_of_unbiased"]
    if kind not in ("own", "own torsion modes"):
        return ""
    least = 0.80 if section == "explicit" else 0.85
    text = f"≥ {least:g} of unbiased: {'met' if share >= least else 'NOT MET'}"
    other = part.get(f"{precision} phi and psi")
    if section == "explicit" and other:
        ratio = value["steps_per_s"] / other["steps_per_s"]
        text += f"; ≥ 0.9 of φ, ψ: {ratio:.2f}, {'met' if ratio >= 0.9 else 'NOT MET'}"
    return text


def table() -> None:
    known = json.loads((OUT / "results.json").read_text())
    for name, value, goal in rows_of(known):
        print(f"{name}: {value[:300]}" + (f"   [{goal}]" if goal else ""))
    print("seconds:", {k: round(v) for k, v in known.get("seconds", {}).items()})


def prepare() -> None:
    """Frames, a Cartesian and a torsion model; a flexible run for energies; 15 minutes."""

    def command(*arguments: object) -> None:
        words = [sys.executable, "-m", "symplectic_cv", *map(str, arguments)]
        print(" ".join(words[2:]), flush=True)
        subprocess.run(words, check=True)

    DATA.mkdir(parents=True, exist_ok=True)
    md, model, torsion, flexible = (DATA / name for name in ("md", "model", "torsion", "flexible"))
    simulate = ("simulate", "alanine-dipeptide", "--solvent", "implicit")
    if not md.exists():
        command(*simulate, "--time-ns", 12, "--stride-ps", 0.24, "-o", md)
    if not model.exists():
        command("train", md / "trajectory.xtc", "--device", "cpu", "-o", model)
        command("export", model, "--modes", 0, 1)
    if not torsion.exists():
        command("train", md / "trajectory.xtc", "--chart", "torsion", "-o", torsion)
        command("export", torsion, "--modes", 0, 1)
    if not flexible.exists():
        command(*simulate, "--flexible", "--time-ns", 0.2, "--stride-ps", 0.1, "-o", flexible)


def every() -> None:
    """All sections, each in a process of its own."""
    sections = [["where"], *(["agreement", kind] for kind in BACKENDS), ["broken"], ["explicit"]]
    for section in [*sections, ["protein"], ["train"], ["energies"], ["table"]]:
        subprocess.run([sys.executable, __file__, *section], check=False)


def main() -> None:
    if len(sys.argv) < 2:
        print(__doc__)
        return
    warnings.filterwarnings("ignore")
    section, *arguments = sys.argv[1:]
    begin = time.perf_counter()
    if section == "agreement":
        agreement(" ".join(arguments))
    elif section == "broken-one":
        broken_one(arguments[0])
        return
    elif section in ("train", "energies"):
        import gpu_work

        getattr(gpu_work, section)()
    else:
        {"where": where, "broken": broken, "explicit": explicit, "protein": protein,
         "table": table, "prepare": prepare, "all": every}[section]()  # fmt: skip
    if section not in ("table", "prepare", "all"):
        record("seconds", **{" ".join([section, *arguments]): time.perf_counter() - begin})


if __name__ == "__main__":
    main()
