"""Runs of many chains: their start, warm-up and blocks, which survive a kill.

Every block depends on the seed, the number of the block and the state of the chains alone. A run
that is killed and resumed therefore takes the same steps as one that is not.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.checks import check_whole, set_choices
from symplectic_cv.errors import OptionError, OutputError, SamplingError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.sampling.moves import MOVES, Method
from symplectic_cv.sampling.target import LatentTarget, Points
from symplectic_cv.statistics import effective_share

PILOT = 2048
"""The number of samples of the flow from which the starts of the chains are chosen by weight."""
PILOTS = 8
"""The number of pilots that are drawn before the model is said not to fit."""
BLOCK = 2048
"""The approximate number of points of all chains between two writes to disk."""
ADAPTING = 0.75
"""The part of the warm-up in which step sizes adapt. The chains settle in the rest."""
STATE, PILOT_FILE = "state", "pilot"
"""The files of a checkpoint beside the blocks."""

Progress = Callable[[int], None]
"""Called with the number of samples made since the last call."""


MOST_CHAINS = 32
"""The default number of chains."""
FEWEST_PER_CHAIN = 4
"""The smallest number of samples of each chain."""


def default_chains(samples: int) -> int:
    """The number of chains where a user does not give one: 32, or a quarter of few samples.

    Args:
        samples: The number of samples in all.
    """
    few = samples // FEWEST_PER_CHAIN if isinstance(samples, int) else MOST_CHAINS
    return max(1, min(MOST_CHAINS, few))


@dataclass(frozen=True)
class SamplingOptions:
    """The options of a sampling run.

    Attributes:
        samples: The number of samples kept over all chains.
        method: See `Method`.
        chains: The number of chains.
        thin: The number of steps of a chain per kept sample.
        warmup: The number of steps of each chain before samples count. Step sizes adapt in the
            first part of them.
        seed: The seed of all random numbers.
    """

    samples: int = 10_000
    method: Method = Method.INDEPENDENCE
    chains: int = MOST_CHAINS
    thin: int = 1
    warmup: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        set_choices(self, method=Method)
        for name in ("samples", "chains", "thin"):
            check_whole(getattr(self, name), name)
        check_whole(self.warmup, "warmup", least=0)
        if self.samples < FEWEST_PER_CHAIN * self.chains and self.method in MOVES:
            raise OptionError(
                f"`samples` {self.samples} is less than four for each of {self.chains} chains: "
                "ask for more samples or fewer `chains`"
            )

    @property
    def steps(self) -> int:
        """The number of kept steps of each chain; some chains need one less."""
        return -(-self.samples // self.chains)


@dataclass(frozen=True)
class SampledChains:
    """S kept steps of C chains (C = 1 for weighted and for rejected ones).

    Attributes:
        u, x: The scaled latent variables and coordinates, (S, C, d).
        log_likelihood, energy, log_weight: The values of `Points` in nats, (S, C).
        acceptance: The share of accepted proposals after the warm-up.
        proposals: The number of proposals of all chains after the warm-up.
        proposed_log_weights: ln w of samples of the flow, (P,), for the importance ESS.
        size: The final step size, or None.
    """

    u: np.ndarray
    x: np.ndarray
    log_likelihood: np.ndarray
    energy: np.ndarray
    log_weight: np.ndarray
    acceptance: float
    proposals: int
    proposed_log_weights: np.ndarray
    size: float | None = None


def sample_target(
    target: LatentTarget,
    options: SamplingOptions,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> SampledChains:
    """Samples of a target by one of the methods.

    Args:
        target: The density to sample.
        options: The options of the sampling.
        folder: The folder that keeps blocks; a run found there is continued.
        progress: A function that is called with the number of samples made since the last call.

    Raises:
        SamplingError: No sample of the flow has a weight, or no proposal is ever accepted.
        OutputError: The checkpoint is damaged.
    """
    if options.method not in MOVES:
        return _weighted(target, options, folder, progress)
    return _run_chains(target, options, folder, progress)


@torch.no_grad()
def _run_chains(
    target: LatentTarget, options: SamplingOptions, folder: Path | None, progress: Progress | None
) -> SampledChains:
    move = MOVES[options.method](target)
    keeper = _Keeper(folder)
    state = keeper.state()
    if state is None:
        generator = _generator(options.seed, 0)
        pilot, points = _start(target, options.chains, generator)
        for place in range(options.warmup):
            step = next(iter(move.steps(points, 1, generator)))
            points = step.points
            if place < ADAPTING * options.warmup:
                move.adapt(step.chance, place)
        keeper.write(PILOT_FILE, {"log_weight": pilot})
        done = 0
    else:
        points = Points(**{name: torch.from_numpy(state[name]) for name in Points.__annotations__})
        move.size = float(state["size"]) if np.isfinite(state["size"]) else None
        done = int(state["steps"])
        if progress is not None:
            progress(done * options.chains)
    per_block = max(1, BLOCK // (options.chains * options.thin))
    while done < options.steps:
        count = min(per_block, options.steps - done)
        generator = _generator(options.seed, 1 + done)
        kept: list[Points] = []
        proposed: list[Tensor] = []
        accepted = 0
        for place, step in enumerate(move.steps(points, count * options.thin, generator)):
            points = step.points
            accepted += int(step.accepted.sum())
            if step.proposed is not None:
                proposed.append(step.proposed)
            if (place + 1) % options.thin == 0:
                kept.append(points)
        block = {
            name: torch.stack([getattr(point, name) for point in kept]).numpy()
            for name in Points.__annotations__
        }
        block["accepted"] = np.array(accepted)
        block["proposed"] = torch.cat([torch.zeros(0).double(), *proposed]).numpy()
        keeper.write(f"block-{done:09d}", block)
        done += count
        size = math.nan if move.size is None else move.size
        keeper.write_state(points, size=size, steps=done)
        if progress is not None:
            progress(count * options.chains)
    blocks = keeper.blocks("accepted", "proposed")
    there = sum(len(block["u"]) for block in blocks)
    if there != options.steps:
        raise OutputError(
            f"{folder}: holds {there} of {options.steps} steps, so that a block of samples is "
            "missing: start anew in another folder"
        )
    proposals = options.steps * options.chains * options.thin
    acceptance = sum(int(block["accepted"]) for block in blocks) / proposals
    if acceptance == 0.0:
        raise SamplingError(f"none of {proposals} proposals was accepted: {advice(options.method)}")
    return SampledChains(
        **_join(blocks),
        acceptance=acceptance,
        proposals=proposals,
        proposed_log_weights=np.concatenate(
            [
                keeper.read(PILOT_FILE, "log_weight")["log_weight"],
                *(block["proposed"] for block in blocks),
            ]
        ),
        size=move.size,
    )


@torch.no_grad()
def _weighted(
    target: LatentTarget, options: SamplingOptions, folder: Path | None, progress: Progress | None
) -> SampledChains:
    """Samples of the flow: all of them, or for rejection those that survive."""
    keeper = _Keeper(folder)
    done = 0
    while done < options.samples:
        count = min(BLOCK, options.samples - done)
        name = f"block-{done:09d}"
        if not keeper.has(name):
            generator = _generator(options.seed, 1 + done)
            points = target.decode(target.draw(count, generator))
            dice = torch.rand(count, generator=generator, dtype=torch.float64)
            arrays = {k: v.numpy()[:, None] for k, v in points.parts().items()}
            keeper.write(name, arrays | {"dice": dice.numpy()})
        done += count
        if progress is not None:
            progress(count)
    blocks = keeper.blocks("dice")
    joined = _join(blocks)
    log_weight = joined["log_weight"][:, 0]
    if not np.isfinite(log_weight).any():
        raise SamplingError(f"none of {len(log_weight)} samples of the flow has any weight: " + FIT)
    acceptance = 1.0
    if options.method is Method.REJECTION:
        chances = np.concatenate([block["dice"] for block in blocks])
        survive = np.log(chances) < log_weight - log_weight.max()
        joined = {name: value[survive] for name, value in joined.items()}
        acceptance = float(survive.mean())
    return SampledChains(
        **joined, acceptance=acceptance, proposals=options.samples, proposed_log_weights=log_weight
    )


FIT = (
    "the model does not fit this Hamiltonian; train it longer (`steps`), on more data of the same "
    "system and temperature, or (a Cartesian one) with `chart` internal"
)


def advice(method: Method) -> str:
    """The remedy when no proposal is accepted."""
    if method in (Method.INDEPENDENCE, Method.HYBRID):
        return f"try `method` pcn or hmc, which make small steps; {FIT}"
    return f"give a longer `warmup`, in which the step adapts; {FIT}"


def _start(
    target: LatentTarget, chains: int, generator: torch.Generator
) -> tuple[np.ndarray, Points]:
    """ln w of a pilot's samples, and a start for each chain, chosen among them by weight."""
    for _ in range(PILOTS):
        points = target.decode(target.draw(max(PILOT, 8 * chains), generator))
        weights = torch.softmax(points.log_weight, 0)
        if torch.isfinite(weights).all():
            chosen = torch.multinomial(weights, chains, True, generator=generator)
            return points.log_weight.numpy(), points[chosen]
    raise SamplingError(f"no sample of the flow has a finite energy: {FIT}")


def _join(blocks: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    return {k: np.concatenate([block[k] for block in blocks]) for k in Points.__annotations__}


def _generator(seed: int, place: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + place)


class _Keeper:
    """Blocks of samples, on disk where there is a folder, else in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.memory: dict[str, dict[str, np.ndarray]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        if self.folder is None:
            self.memory[name] = arrays
            return
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(self.folder / f"{name}.npz", buffer.getvalue())

    def write_state(self, points: Points, **numbers: float) -> None:
        state = {name: value.numpy() for name, value in points.parts().items()}
        if self.folder is not None:
            self.write(STATE, state | {name: np.array(v) for name, v in numbers.items()})

    def has(self, name: str) -> bool:
        return name in self.names()

    def names(self) -> list[str]:
        if self.folder is None:
            return sorted(self.memory)
        return sorted(path.stem for path in self.folder.glob("*.npz"))

    def read(self, name: str, *parts: str) -> dict[str, np.ndarray]:
        """The arrays of a file; raises OutputError where it is damaged or lacks one of `parts`."""
        if self.folder is None:
            return self.memory[name]
        path = self.folder / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            for part in parts:
                arrays[part]  # a KeyError where it is not there
        except Exception as error:  # zipfile, zlib and NumPy each raise their own
            raise OutputError(
                f"{path}: damaged ({type(error).__name__}): start anew in another folder"
            ) from error
        return arrays

    def state(self) -> dict[str, np.ndarray] | None:
        if self.folder is None or not self.has(STATE):
            return None
        return self.read(STATE, *Points.__annotations__, "size", "steps")

    def blocks(self, *more: str) -> list[dict[str, np.ndarray]]:
        parts = (*Points.__annotations__, *more)
        return [self.read(name, *parts) for name in self.names() if name.startswith("block-")]


def importance_ess(samples: SampledChains) -> float:
    """Effective share of the flow's own samples under their importance weights."""
    return effective_share(samples.proposed_log_weights)
