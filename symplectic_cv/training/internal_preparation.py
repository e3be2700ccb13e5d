"""Frames turned into standardised internal coordinates, and the start of a model of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import FIXED, internal_flow
from symplectic_cv.charts.symmetry import Turn, exchange
from symplectic_cv.data.advice import require_enough_frames
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.flows.parts import ConditionalGaussian
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.energies import Energies, frame_energies
from symplectic_cv.training.internal_start import internal_topology, standard_start
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.preparation import (
    FrameSplit,
    PreparedTraining,
    data_warnings,
    eckart_coordinates,
)
from symplectic_cv.training.result import FrameSource

VALIDATION_SEED = 20200428
"""The seed of the momenta of validation frames."""


@dataclass(frozen=True, kw_only=True)
class PreparedInternal(PreparedTraining):
    """Frames as standardised internal coordinates, and the start of the model.

    The start has uniform angles; the other coordinates are Gaussian by regression on them.

    Attributes:
        training: q of the training frames, shape (F, n), in ps, in float64.
        validation: Standardised coordinates z of the validation frames, shape (F, n).
        alike: Equivalent atoms that may be exchanged.
        validation_momenta: Momenta of z of the validation frames, shape (F, n), for one draw each;
            None but in the torsion chart.
        training_energy: βU of the training frames in nats, shape (F,), or None.
        validation_target: ln π of z of the validation frames in nats, shape (F,), or None.
        fixed_volume: The mean of ln|det ∂z/∂q| over the validation frames, in nats.
    """

    alike: list[Turn]
    validation_momenta: Tensor | None
    training_energy: Tensor | None
    validation_target: Tensor | None
    fixed_volume: float

    @property
    def fixed(self) -> PointTransformation:
        """The chart and its scaling, shared with the model."""
        return PointTransformation(list(self.model.flow.layers)[:FIXED])  # type: ignore[arg-type]

    @property
    def learned(self) -> PointTransformation:
        """The layers behind the chart, shared with the model."""
        return PointTransformation(list(self.model.flow.layers)[FIXED:])  # type: ignore[arg-type]


def prepare_internal(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float,
    options: TrainingOptions,
    split: FrameSplit,
    source: FrameSource,
    energies: Energies | None = None,
) -> PreparedInternal:
    """The start of a model in internal coordinates; see `symplectic_cv.training.fit.prepare`.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms, joined by bonds.
        temperature: The temperature of the data, in K.
        options: The options of the training; its chart is internal.
        split: Which frames train and which validate, with their weights.
        source: Where the frames come from.
        energies: The energies of the frames, or None.

    Raises:
        OptionError: There is an energy weight, but no energies.
        HamiltonianError: A frame has no finite energy.
        SelectionError, FrameError: The atoms or frames cannot carry a model.
    """
    if options.energy_weight > 0.0 and energies is None:
        raise OptionError("`energy_weight` needs the energies of the frames: give `energies`")
    require_enough_frames(len(positions), molecule, len(split.training))
    split.require_enough(3 * molecule.n_atoms - 6)
    training, held_out, weights = split.training, split.held_out, split.weights
    w = split.training_weights
    topology = internal_topology(molecule, options.chart, positions[training[0]])
    generator = torch.Generator().manual_seed(options.seed)
    positions = exchange(torch.as_tensor(positions), topology.alike, generator).numpy()
    frame, q = eckart_coordinates(positions, molecule, temperature, training, w)
    chart = InternalCoordinates(frame, topology.table)
    health = frame.health(q)
    health.require_unique()
    internal, volume = (torch.cat(x) for x in zip(*map(chart, q.split(8192)), strict=True))
    standard, scale, prior = standard_start(
        chart, internal[training], q[training], options.chart, w, topology.angles
    )
    z, more = standard(internal)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        flow = internal_flow(options.flow, chart, standard, scale.float())
    first = flow.layers[FIXED]
    if isinstance(first, ConditionalGaussian):
        try:
            first.fit(z[training], w)
        except torch.linalg.LinAlgError as error:
            raise FrameError(
                f"{len(training)} frames for training cannot determine {z.shape[1]} internal "
                "coordinates and how they follow the torsions: give more frames"
            ) from error
    model = NeuralCanonicalTransformation(
        molecule, temperature, frame, flow, prior, options.flow
    ).to(torch.float32)
    energy, target = None, None
    if options.energy_weight > 0.0 and energies is not None:
        energy = frame_energies(energies, frame, q, temperature)
        target = frame.log_volume(q) - energy - (volume + more)
    counted = len(positions) if weights is None else split.effective_frames
    return PreparedInternal(
        model=model,
        options=options,
        alike=topology.alike,
        training=q[training],
        validation=z[held_out].float(),
        validation_momenta=_momenta(PointTransformation([chart, standard]), q[held_out], options),
        training_weights=w,
        validation_weights=split.validation_weights,
        training_energy=None if energy is None else energy[training],
        validation_target=None if target is None else target[held_out],
        fixed_volume=_mean((volume + more)[held_out], weights, held_out),
        health=health,
        warnings=data_warnings(counted, model.dimension, health, options.hidden),
        source=source,
        effective_frames=split.effective_frames,
    )


def _momenta(fixed: PointTransformation, q: Tensor, options: TrainingOptions) -> Tensor | None:
    """Momenta of standardised coordinates for p of a fixed seed, as q is (F, n)."""
    if options.chart is not Chart.TORSION:
        return None
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    p = Momenta.RADEMACHER.draw(tuple(q.shape), generator).double()
    with torch.no_grad():
        parts = zip(p.split(2048), q.split(2048), strict=True)
        return torch.cat([fixed.push(*part)[0] for part in parts]).float()


def _mean(values: Tensor, weights: np.ndarray | None, chosen: np.ndarray) -> float:
    return float(np.average(values.numpy(), weights=None if weights is None else weights[chosen]))
