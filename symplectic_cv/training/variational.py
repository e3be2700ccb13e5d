"""Learning from a Hamiltonian alone, without any data (the paper, III.B.1).

The loss is the variational free energy L = E[ln ρ(x) + βH(x)] ≥ −ln Z over samples
x = T⁻¹(z), z ~ N, of all of phase space; its excess is KL(ρ‖π). Gradients go through the
samples. Three things make it work:

* Only the dependence of ln ρ on x is differentiated. The rest averages to zero, and without
  it the gradient has no noise where the model is exact (G. Roeder, Y. Wu, D. Duvenaud,
  arXiv:1703.09194).
* A part of each batch is drawn from a wider Gaussian and weighted back, so that a map cannot
  hide folds where its own samples rarely go.
* The training starts cold, in one minimum, and is heated (`hamiltonians.start`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from symplectic_cv.checks import check_kind, check_number, check_whole
from symplectic_cv.errors import HamiltonianError
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.continuous import refined
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import Flow, FlowOptions
from symplectic_cv.hamiltonians.base import Hamiltonian, Start, check_hamiltonian
from symplectic_cv.hamiltonians.free_energy import draw_latent, free_energy_terms
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.start import find_start
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.training.devices import check_device, training_device
from symplectic_cv.training.loop import (
    WARMUP_STEPS,
    Progress,
    TrainingModule,
    reached_step,
    run_loop,
)
from symplectic_cv.training.polish import linear_parameters, polish, validation_bound
from symplectic_cv.training.schedule import rates, scheduled

DEFAULT_STEPS = {Flow.POINT: 5000, Flow.LINEAR: 10_000, Flow.CONTINUOUS: 3000}
HEATED = 0.6
"""Part of a training after which the potential has its full temperature."""
LATE = 0.25
"""Part of a training after which the second of two linear layers joins. It then acts on modes that
are nearly apart, so that each of its weights mixes two of them; that resolves modes of nearly the
same frequency, which the first alone does not in ten times the steps."""
LINEAR_RATE = 5.0
"""Learning rate of rotations, linear layers and frequencies in units of that of the networks."""


@dataclass(frozen=True)
class VariationalOptions:
    """Options of learning from a Hamiltonian.

    Attributes:
        flow: The options of the flow; the kind alone (`point`, `linear` or `continuous`) stands
            for its defaults.
        steps: The number of optimizer steps; that of `DEFAULT_STEPS` where None.
        batch: The number of phase-space samples per step.
        learning_rate: The highest learning rate of Adam.
        seed: The seed of the start, the initial weights and the samples.
        device: Where to train: `auto`, `cpu` or `cuda`.

    Raises:
        OptionError: A value that makes no sense; the message names the parameter.

    Example:
        >>> VariationalOptions(flow="linear").n_steps
        10000
    """

    flow: FlowOptions = field(default_factory=FlowOptions)
    steps: int | None = None
    batch: int = 512
    learning_rate: float = 2e-3
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.flow, FlowOptions):
            object.__setattr__(self, "flow", FlowOptions(flow=self.flow))
        for name, value in (("steps", self.n_steps), ("batch", self.batch)):
            check_whole(value, name)
        check_whole(self.seed, "seed", least=0)
        check_number(self.learning_rate, "learning_rate", above=0.0)
        check_device(self.device)

    @property
    def n_steps(self) -> int:
        """The number of optimizer steps."""
        return DEFAULT_STEPS[self.flow.flow] if self.steps is None else self.steps

    def to_json(self) -> dict[str, Any]:
        rest = {key: value for key, value in asdict(self).items() if key != "flow"}
        return rest | {"steps": self.n_steps} | self.flow.to_json()


@dataclass(frozen=True)
class VariationalRow:
    """One line of history.csv; free energies are −ln Z in nats, upper bounds.

    `train_bound` is the loss over the steps since the last row, at the factor `cold` on the
    potential; `free_energy_bound` that of the full temperature, on fixed samples.
    """

    step: int
    train_bound: float
    free_energy_bound: float
    standard_error: float
    cold: float
    learning_rate: float


@dataclass(frozen=True)
class PreparedVariational:
    """A Hamiltonian at its temperature, and the Gaussian that learning starts from.

    Attributes:
        model: The start of the model, float32; its `options` have what the start needs.
        reduced: The Hamiltonian in nats, with its energy cap above the start.
        start: The start that `hamiltonians.start` found.
        options: The options of the training.
    """

    model: PhaseSpaceModel
    reduced: ReducedHamiltonian
    start: Start
    options: VariationalOptions


@dataclass
class VariationalResult:
    """A model that was trained on a Hamiltonian, with the history of its training.

    Attributes:
        model: The model with the best weights of the run, slowest mode first.
        reduced: The Hamiltonian at its temperature, in nats.
        history: One row per validation.
    """

    model: PhaseSpaceModel = field(repr=False)
    reduced: ReducedHamiltonian
    history: list[VariationalRow] = field(repr=False)


def prepare_variational(
    hamiltonian: Hamiltonian, options: VariationalOptions | None = None, beta: float = 1.0
) -> PreparedVariational:
    """Does all of a training that can fail because of the Hamiltonian, and nothing that takes long.

    Args:
        hamiltonian: The Hamiltonian to learn from.
        options: The options of the training.
        beta: The inverse temperature, in the inverse of the Hamiltonian's unit of energy.

    Raises:
        HamiltonianError: The Hamiltonian has no minimum, or energies that are not numbers.
        OptionError: An option makes no sense.

    Example:
        >>> from symplectic_cv.hamiltonians.ringworld import Ringworld
        >>> prepared = prepare_variational(Ringworld(), VariationalOptions(steps=100))
        >>> prepared.model.dimension
        2
    """
    options = check_kind(options, VariationalOptions, "options")
    check_hamiltonian(hamiltonian)
    start = find_start(ReducedHamiltonian(hamiltonian, beta), options.seed)
    reduced = ReducedHamiltonian(hamiltonian, beta, floor=start.energy)
    rotation = options.flow.flow is Flow.POINT and start.learn_rotation
    flow_options = replace(options.flow, rotation=rotation and hamiltonian.dimension > 1)
    modes = NormalModes(start.rotation, start.shift)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        flow = build_flow(flow_options, modes, start.spread)
    prior = HarmonicPrior(start.omega * math.sqrt(start.cold))
    model = hamiltonian.model(flow, prior, flow_options).to(torch.float32)
    return PreparedVariational(model, reduced, start, options)


def train_variational(
    prepared: PreparedVariational,
    checkpoint_folder: Path | None = None,
    progress: Progress | None = None,
) -> VariationalResult:
    """Learns a canonical transformation from a Hamiltonian.

    Args:
        prepared: What `prepare_variational` returned; its model is trained in place.
        checkpoint_folder: The folder that keeps checkpoints; a run found there is resumed.
        progress: A function that is called with the step and the last row of the history.

    Raises:
        HamiltonianError: An energy or its gradient is not a number.
    """
    model, reduced, options = prepared.model, prepared.reduced, prepared.options
    module = _FreeEnergy(model, reduced, prepared.start.cold, options)
    batches = _LatentSamples(model.dimension, options, reached_step(checkpoint_folder))
    # energies come from functions of the user or from OpenMM, many small calls: a CPU is faster
    device = training_device(options.device, faster_on_gpu=False)
    ended = run_loop(module, batches, options.n_steps, device, checkpoint_folder, progress)
    model.to("cpu").load_state_dict(ended.best)
    if options.flow.flow is Flow.LINEAR:
        polish(model, reduced, options.seed)
    model.put_slowest_first()
    return VariationalResult(model.eval(), reduced, module.history)


class _LatentSamples(IterableDataset):
    """Endless batches (P, ω Q, weight); batch number `step` is always the same one."""

    def __init__(self, dimension: int, options: VariationalOptions, first_step: int) -> None:
        self.dimension = dimension
        self.options = options
        self.first_step = first_step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        generator = torch.Generator()
        step = self.first_step
        while True:
            generator.manual_seed(self.options.seed * 1_000_003 + step)
            yield draw_latent(self.options.batch, self.dimension, generator)
            step += 1


class _FreeEnergy(TrainingModule[VariationalRow]):
    def __init__(
        self,
        model: PhaseSpaceModel,
        reduced: ReducedHamiltonian,
        cold: float,
        options: VariationalOptions,
    ) -> None:
        super().__init__(model, VariationalRow, "train_bound")
        self.reduced = reduced
        self.cold = cold
        self.options = options

    def _heat(self) -> float:
        """Factor on the potential, from `cold` to 1 in equal ratios."""
        left = max(0.0, 1.0 - self.global_step / (HEATED * self.options.n_steps))
        return self.cold**left

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        p_latent, scaled, weights = batch

        def free_energy() -> Tensor:
            p, q = self.model.flow.pull(p_latent, scaled / self.model.prior.omega)
            return free_energy_terms(self.model, self.reduced, p, q, self._heat())

        loss = (weights * refined(self.model.flow, free_energy)).mean()
        if not torch.isfinite(loss):
            raise HamiltonianError(
                f"{self.reduced.hamiltonian.name}: the free energy is not a finite number at step "
                f"{self.global_step}: the energy is infinite where the model samples; soften its "
                "core, or lower `learning_rate`"
            )
        self.running.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for parameter in self.model.parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                raise HamiltonianError(
                    f"{self.reduced.hamiltonian.name}: the gradient of its energy is not finite "
                    f"at step {self.global_step}: keep energies differentiable everywhere"
                )

    def validation_step(self, _batch: Tensor, _: int) -> None:
        bound, standard_error = refined(
            self.model.flow, lambda: validation_bound(self.model, self.reduced)
        )
        # while it is cold a bound says little, and the weights are not kept
        self.log("validation_loss", bound if self._heat() == 1.0 else 1e30 + 0.0 * bound)
        self.record(free_energy_bound=bound, standard_error=standard_error, cold=self._heat())

    def configure_optimizers(self) -> Any:
        steps = self.options.n_steps

        # rotations, linear layers and frequencies change much and do not destabilise the training
        frequencies = list(self.model.prior.parameters())
        early, late = linear_parameters(self.model)
        known = {id(p) for p in (*frequencies, *early, *late)}
        bending = [p for p in self.model.parameters() if id(p) not in known]
        rate = self.options.learning_rate

        groups = [
            (bending, 1.0, 0.0),
            (frequencies, LINEAR_RATE, 0.0),
            (early, LINEAR_RATE, 0.0),
            (late, LINEAR_RATE, LATE),
        ]
        groups = [group for group in groups if group[0]]
        optimizer = torch.optim.Adam(
            [{"params": parameters, "lr": much * rate} for parameters, much, _ in groups],
            fused=True,
        )
        joins = [join * steps for _, _, join in groups]
        return scheduled(optimizer, rates(steps, WARMUP_STEPS, joins, rise_at_join=False))
