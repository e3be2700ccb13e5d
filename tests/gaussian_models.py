"""Models that only shift and scale, whose density is a known Gaussian."""

import torch

from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior


def gaussian_model(dimension, width, shift=0.0):
    """A flow that only shifts: samples of width `width` about `shift`."""
    start = NormalModes(torch.eye(dimension), torch.full((dimension,), shift))
    prior = HarmonicPrior(torch.full((dimension,), 1.0 / width))
    return PhaseSpaceModel(PointTransformation([start]), prior, FlowOptions())
