"""Progress of an adaptive loop: after each round, and during its stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from openmm_plugin.biasing.options import BiasProgress
from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import RoundModel
from symplectic_cv.bias.states import States


@dataclass(frozen=True)
class AdaptationProgress:
    """The results of a round.

    Attributes:
        round: The number of the round, from 1.
        folder: The folder of the round, which holds model/ and metadynamics/.
        rows: The progress of all rounds so far, judged by the states of the newest model; row 0 is
            for the frames that the loop began with.
        model: The numbers of the round's model: validation NLL, frequencies and biased modes.
        states: The states of the newest model; None for a round that was complete before the loop
            was resumed.
        reason: The reason to end the loop with this round; None while it continues.
    """

    round: int
    folder: Path
    rows: list[RoundProgress]
    model: RoundModel
    states: States | None = field(repr=False)
    reason: str | None

    @property
    def modes(self) -> list[int]:
        """The modes that the round biased."""
        return self.model.modes


@dataclass(frozen=True)
class StageProgress:
    """Progress of a stage of a round.

    Attributes:
        round: The number of the round; 0 before the first.
        stage: "reading", "simulating", "training", "biasing", or "extending" the run of the best
            round.
        done: How much of the stage is done, in `unit`.
        total: How much there is to do, in `unit`; None where it is not known.
        unit: "frames", "ps" or "steps".
        validation_nll: The best validation NLL so far, in nats, while training.
        model: The numbers of the model whose modes are biased.
        bias: The progress of the biased run.
    """

    round: int
    stage: str
    done: float
    total: float | None
    unit: str
    validation_nll: float | None = None
    model: RoundModel | None = None
    bias: BiasProgress | None = None


OnStage = Callable[[StageProgress], None]
"""Called many times in each stage."""
