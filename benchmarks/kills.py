"""SIGKILL at random moments, in metadynamics and in the adaptive loop.

A run that is killed again and again, and each time goes on with `--resume`, is compared with one
that nothing disturbed: every model, hill, frame, weight and free energy must be the same, byte for
byte. After each kill all records and models that are there are read; tables are cut back to the
checkpoint by the run that goes on. The first kill comes while a process starts, the others at
random moments after it has begun to write; their seed is printed.

    python benchmarks/kills.py FOLDER [--kills 20] [--seed N]
"""

from __future__ import annotations

import argparse
import filecmp
import random
import subprocess
import sys
import time
from pathlib import Path

from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.bias.hills import HILLS
from symplectic_cv.bias.run import COLVAR, BiasRecord
from symplectic_cv.models.model_folder import load_model

COMMAND = [str(Path(sys.executable).with_name("symplectic-cv"))]
LONGEST_START = 120.0
"""Seconds until a process has written something."""
LOOP = [
    "--rounds", "2", "--start-ns", "0.05", "--time-ns", "0.06", "--pace", "0.05", "--steps", "400",
    "--hidden", "16", "--layers", "4", "--growth", "0", "--seed", "3",
]  # fmt: skip
RUN = ["--time-ns", "0.5", "--pace", "0.05", "--seed", "5", "--modes", "0", "1"]


def call(*words: str | Path) -> float:
    """A command that has to end well; its seconds."""
    begin = time.monotonic()
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr[-2000:]}")
    return time.monotonic() - begin


def readable(folder: Path) -> int:
    """Reads each record and model that is in a folder; how many."""
    records, models = list(folder.rglob("bias.json")), list(folder.rglob("model/config.json"))
    for record in records:
        BiasRecord.read(record.parent)
    for config in models:
        load_model(config.parent)
    return len(records) + len(models)


def killed(words: list[str | Path], folder: Path, whole: float, kills: int, seed: int) -> None:
    """Runs a command with so many kills, the last time to its end."""
    rng, read = random.Random(seed), 0
    for kill in range(kills):
        before = state(folder)
        process = subprocess.Popen(
            [*COMMAND, *map(str, words), "--resume"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + LONGEST_START
        while kill > 0 and state(folder) == before and time.monotonic() < until:
            time.sleep(0.005)
        try:
            status = process.wait(rng.uniform(0.0, whole / kills))
            raise SystemExit(f"{folder}: ended with status {status} before kill {kill + 1}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        read += readable(folder)
    call(*words, "--resume")
    print(f"{folder.name}: {kills} kills, {read} files read between them", flush=True)


def state(folder: Path) -> dict[Path, int]:
    """The time at which each file was written."""
    found = {}
    for path in folder.rglob("*"):
        try:
            found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # a temporary file
            continue
    return found


def compare(one: Path, other: Path) -> list[str]:
    """Files that differ, among those that a user works with; checkpoints and pictures are not."""
    names = {HILLS, COLVAR, SURFACE, "rounds.csv", "frames.csv", "free_energy.csv", "weights.npy"}
    suffixes = {".xtc", ".safetensors", ".pt"}
    kept = [
        path.relative_to(one)
        for path in sorted(one.rglob("*"))
        if (path.name in names or path.suffix in suffixes) and "checkpoint" not in path.parts
    ]
    same, different, missing = filecmp.cmpfiles(one, other, map(str, kept), shallow=False)
    print(f"{other.name}: {len(same)} files the same, {len(different) + len(missing)} not")
    return [*different, *missing]


def main(folder: Path, kills: int, seed: int) -> int:
    folder.mkdir(parents=True)
    start = folder / "start"
    call("simulate", "alanine-dipeptide", "--solvent", "vacuum", "--time-ns", "0.05", "-o", start)
    system = start / "system.xml"
    loop: list[str | Path] = ["adapt", "--system", system, *LOOP]
    begin = call(*loop, "-o", folder / "adapt")
    model = folder / "adapt" / "round-1" / "model"
    run: list[str | Path] = ["metadynamics", model, "--system", system, *RUN]
    wrong = []
    for words, whole in ((run, None), (loop, begin)):
        name = str(words[0])
        if whole is None:
            whole = call(*words, "-o", folder / name)
        print(f"{name}: {whole:.0f} s undisturbed, seed of the kills {seed}", flush=True)
        broken = folder / f"{name}-killed"
        killed([*words, "-o", broken], broken, whole, kills, seed)
        wrong += [f"{name}: {path}" for path in compare(folder / name, broken)]
    print("\n".join(wrong) or "nothing lost, nothing doubled, nothing unreadable")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    a = parser.parse_args()
    sys.exit(min(main(a.folder, a.kills, a.seed), 1))
