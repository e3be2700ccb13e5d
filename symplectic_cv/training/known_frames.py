"""The record that a trained model keeps of its training frames: likelihoods and latent radii."""

from __future__ import annotations

import torch
from torch import Tensor

from symplectic_cv.models.molecular_model import BATCH, NeuralCanonicalTransformation
from symplectic_cv.models.training_range import TrainingRange


@torch.no_grad()
def learn_range(
    model: NeuralCanonicalTransformation, coordinates: Tensor, weights: Tensor | None = None
) -> None:
    """Ends a training: gives a model the record of its training frames.

    Args:
        model: The trained model.
        coordinates: q of the frames, shape (F, n), in ps.
        weights: One weight per frame, shape (F,), or None.
    """
    likelihood, radius = [], []
    for q in coordinates.split(BATCH):
        latent, log_det = model.flow(q.to(model.prior.log_omega.device, model.dtype))
        likelihood.append(model.prior.log_prob_coordinates(latent) + log_det)
        radius.append(model.prior.to_normal(latent).norm(dim=-1))
    model.training_range = TrainingRange.of(
        torch.cat(likelihood).cpu().double().numpy(),
        torch.cat(radius).cpu().double().numpy(),
        None if weights is None else weights.numpy(),
    )
