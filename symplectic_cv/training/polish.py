"""The end of a variational training: a quasi-Newton search of the linear parts, and the bound."""

from __future__ import annotations

import torch
from torch import Tensor

from symplectic_cv.flows.layers import Rotation
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.hamiltonians.free_energy import draw_latent, free_energy_terms, whitened_latent
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.statistics import weighted_mean

VALIDATION_SAMPLES = 8192
POLISH_SAMPLES = 2048
POLISH_SEARCHES = 4
POLISH_ITERATIONS = 1000

_VALIDATION_SEED = 20200428


def linear_parameters(
    model: PhaseSpaceModel,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Weights of the first rotation or linear layer, and weights of the later ones."""
    kinds = (Rotation, LinearSymplectic)
    layers = [module for module in model.flow.modules() if isinstance(module, kinds)]
    early = [p for layer in layers[:1] for p in layer.parameters()]
    return early, [p for layer in layers[1:] for p in layer.parameters()]


@torch.no_grad()
def validation_bound(model: PhaseSpaceModel, reduced: ReducedHamiltonian) -> tuple[float, float]:
    """The free-energy bound in nats and its standard error, on samples of a fixed seed."""
    generator = torch.Generator().manual_seed(_VALIDATION_SEED)
    terms, shares = [], []
    omega = model.prior.omega
    for _part in range(VALIDATION_SAMPLES // 2048):
        p, scaled, weights = draw_latent(2048, model.dimension, generator)
        p, q = model.flow.pull(p.to(omega), scaled.to(omega) / omega)
        terms.append(free_energy_terms(model, reduced, p, q))
        shares.append(weights)
    return weighted_mean(torch.cat(terms).cpu().numpy(), torch.cat(shares).numpy())


def polish(model: PhaseSpaceModel, reduced: ReducedHamiltonian, seed: int = 0) -> bool:
    """Ends a training with a quasi-Newton search of the linear parts and the frequencies.

    Modes of nearly the same frequency separate slowly in a stochastic search. Here the samples
    stay the same and their second moments are exactly those of N, so that for a harmonic
    Hamiltonian the average over them is exact.

    Args:
        model: The model, which is changed in place.
        reduced: Its Hamiltonian in nats.
        seed: The seed of the samples.

    Returns:
        Whether the bound on other samples is as good within its error; if not, the model is
        restored.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dtype = model.dtype
    model.double()  # the improvement is smaller than the rounding of single precision
    bound, error = validation_bound(model, reduced)
    early, late = linear_parameters(model)
    p_latent, scaled = whitened_latent(POLISH_SAMPLES, model.dimension, seed)
    parameters = [*model.prior.parameters(), *early, *late]

    def closure() -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        p, q = model.flow.pull(p_latent, scaled / model.prior.omega)
        energy = reduced.capped(reduced.energy(p, q))
        loss = model.prior.log_omega.sum() + energy.mean()
        loss.backward()
        return loss

    # a search that stalls on a flat region continues after its curvature estimate is cleared
    for _ in range(POLISH_SEARCHES):
        torch.optim.LBFGS(
            parameters,
            max_iter=POLISH_ITERATIONS,
            history_size=30,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        ).step(closure)
    after, _ = validation_bound(model, reduced)
    model.to(dtype)
    # the weights before are those whose bound on these samples was least: some of that is luck
    if not after < bound + error:
        model.load_state_dict(before)
        return False
    return True
