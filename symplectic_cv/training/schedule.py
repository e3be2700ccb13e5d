"""The learning rate of all trainings: a linear rise, then half a cosine down to zero."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


def warmup_cosine(
    step: int, steps: int, warmup: int, join: float = 0.0, rise_from: float = 0.0
) -> float:
    """Factor on the highest learning rate at a step.

    Args:
        step: The optimizer step, from 0.
        steps: The number of steps of the whole training.
        warmup: The number of steps of the linear rise.
        join: The step before which the factor is 0.
        rise_from: The step at which the linear rise begins.

    Example:
        >>> [round(warmup_cosine(step, 100, 10), 2) for step in (0, 9, 50, 100)]
        [0.1, 0.98, 0.5, 0.0]
    """
    if step < join:
        return 0.0
    rise = min(1.0, (step - rise_from + 1) / warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def scheduled(optimizer: torch.optim.Optimizer, factors: Sequence[Callable[[int], float]]) -> Any:
    """The optimizer with its learning rates, as Lightning's `configure_optimizers` returns it.

    Args:
        optimizer: The optimizer, whose learning rates are the highest ones.
        factors: One function of the step for each of its groups of parameters.
    """
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, list(factors))
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def rates(
    steps: int, warmup: int, joins: Sequence[float], rise_at_join: bool
) -> list[Callable[[int], float]]:
    """One `warmup_cosine` for each group of parameters.

    Args:
        steps: The number of steps of the whole training.
        warmup: The number of steps of the linear rise; a shorter training rises to its end.
        joins: The step at which each group starts to learn.
        rise_at_join: Whether a group rises from the step where it joins, not from step 0.
    """
    return [
        functools.partial(
            warmup_cosine,
            steps=steps,
            warmup=min(warmup, steps),
            join=join,
            rise_from=join if rise_at_join else 0.0,
        )
        for join in joins
    ]
