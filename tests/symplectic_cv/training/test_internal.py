"""Models in internal coordinates of a chain of four atoms whose density is known."""

import copy
import math

import numpy as np
import pytest
import torch
from four_atoms import KAPPA, WELLS, Chain, four_atoms, frames, two_wells, uniform
from torch.distributions import Normal

from symplectic_cv.errors import SamplingError
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.sampling.conditional import conditional_latent
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.sampling.thermodynamics import estimate
from symplectic_cv.statistics import effective_share
from symplectic_cv.training.fit import prepare, train
from symplectic_cv.training.options import TrainingOptions


@pytest.fixture(scope="module")
def chain():
    return four_atoms()


def prepared(chain, positions, log_torsion, **options):
    chosen = TrainingOptions(
        coupling=Coupling.SPLINE, layers=1, bins=4, chart=Chart.INTERNAL, momentum_weight=0.0,
        **options,
    )  # fmt: skip
    return prepare(
        positions,
        chain,
        300.0,
        chosen,
        energies=lambda frame: ReducedHamiltonian(Chain(chain, frame, log_torsion)),
    )


@pytest.fixture(scope="module")
def cut(chain):
    """A model that believes its torsion normal, 7 % of it beyond the cut, and the torsions (F,)."""
    rng = np.random.default_rng(0)
    torsions = np.where(np.arange(4000) % 2, 1.8, -1.8)
    torsions[::8] = rng.uniform(-1.8, 1.8, size=500)
    rng.shuffle(torsions)
    return prepared(chain, frames(chain, torsions, 1), uniform).model, torsions


def test_latent_points_of_no_structure_are_left_out_of_thermodynamics(chain, cut):
    model, torsions = cut
    reduced = ReducedHamiltonian(Chain(chain, model.frame, uniform))
    exact = reduced.hamiltonian.exact_free_energy(1.0)
    found = estimate(model, reduced, 20_000)
    assert abs(found.ln_z + exact) < 4.0 * found.ln_z_standard_error < 0.05
    # KL of the normal law within ±π from the uniform one; the stiff coordinates add next to none
    wide = Normal(0.0, torsions.std())
    phi = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
    density = wide.log_prob(phi).exp()
    beyond = 1.0 - float(torch.trapezoid(density, phi))
    density = density / (1.0 - beyond)
    kl = float(torch.trapezoid(density * (2.0 * math.pi * density).log(), phi))
    assert 0.05 < beyond < 0.1
    assert found.free_energy_bound - exact == pytest.approx(kl, abs=0.02)


def test_latent_points_of_no_structure_are_told(cut):
    """Held beyond the cut a mode has no structure; left free it is drawn again."""
    model = copy.deepcopy(cut[0]).double()
    u = conditional_latent(model, {}, 500, 0)
    with torch.no_grad():
        assert torch.isfinite(model.flow.inverse(u / model.omega)[1]).all()
    torsion = model.flow.layers[1].colouring[:, -1]
    far = dict(enumerate((8.0 * torsion / torsion.norm()).tolist()))
    with pytest.raises(SamplingError, match="only 0 of 200 latent points"):
        conditional_latent(model, far, 10, 0)


def test_a_path_ends_where_there_is_no_structure(cut, tmp_path, refused):
    """A scan of the mode that turns the torsion most, far beyond the cut."""
    model = cut[0]
    save_model(tmp_path / "model", model)
    mode = int(model.flow.layers[1].colouring[:, -1].abs().argmax())
    scan = ["--scan", mode, "--reach", "19", "--points", "3", "-o", tmp_path / "out"]
    line = refused("path", tmp_path / "model", *scan)
    assert "point 0 of the path is no structure" in line
    assert not (tmp_path / "out").exists()


def test_energies_mend_what_frames_tell_wrong(chain):
    """Frames show the first well one time in five, where nine parts in ten belong to it.

    A flow that knew those frames perfectly would have an effective share of its samples of
    1/(0.9²/0.2 + 0.1²/0.8) = 0.25. At the optimum of both losses together it shows the first well
    four times in five and has a share of 0.93, 3.8 times as much. A short training gets part of the
    way; 4000 proposals tell a share to 3 %, so that three tenths more are far beyond chance.
    """
    rng = np.random.default_rng(0)
    torsions = rng.vonmises(np.where(rng.uniform(size=800) < 0.2, *WELLS.tolist()), KAPPA)
    positions = frames(chain, torsions, 1)
    shares = []
    for energy_weight in (0.0, 4.0):
        options = {"steps": 140, "batch": 128, "energy_weight": energy_weight}
        model = train(prepared(chain, positions, two_wells, **options)).model
        target = LatentTarget(model, ReducedHamiltonian(Chain(chain, model.frame, two_wells)))
        with torch.no_grad():
            found = target.decode(target.draw(4000, torch.Generator().manual_seed(1)))
        shares.append(effective_share(found.log_weight.numpy()))
    assert shares[1] > 1.3 * shares[0]
