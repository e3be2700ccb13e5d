"""Internal coordinates of the dipeptide, frames in which two torsions go round, and a flow."""

import numpy as np
import pytest
import torch

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import internal_flow, latent_scale
from symplectic_cv.charts.standard import standardise, wrap
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.data.handedness import Stereocentres
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions

OPTIONS = FlowOptions(coupling=Coupling.SPLINE, layers=2, hidden=8, bins=4, chart=Chart.INTERNAL)


@pytest.fixture(scope="module")
def chart(molecule, dipeptide):
    frame = EckartFrame(torch.tensor(dipeptide), torch.tensor(molecule.masses), 300.0)
    return InternalCoordinates(frame, molecule_z_matrix(molecule))


@pytest.fixture(scope="module")
def points():
    """q near the reference, (4, 24) in ps."""
    generator = torch.Generator().manual_seed(1)
    return 0.01 * torch.randn(4, 24, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def spinning(chart):
    """ξ of frames whose first two torsions go round, with all the rest stiff, (600, 24)."""
    return spinning_frames(chart, 600)


@pytest.fixture(scope="module")
def one_handed(chart, molecule):
    """Such frames with the handedness of the reference; the two torsions can mirror a molecule."""
    xi = spinning_frames(chart, 1600)
    centres = Stereocentres.of(molecule)
    centre = chart(torch.zeros(1, 24, dtype=torch.float64))[0]
    wanted = centres.signs(chart.place(centre).numpy())
    one_hand = (centres.signs(chart.place(xi).numpy()) == wanted).all(1)
    return xi[one_hand][:600]


def spinning_frames(chart, n_frames):
    rng = np.random.default_rng(2)
    centre = chart(torch.zeros(1, 24, dtype=torch.float64))[0].numpy()
    xi = centre + rng.normal(size=(n_frames, 24)) * np.r_[np.full(9, 0.003), np.full(15, 0.06)]
    xi[:, 17:19] = rng.uniform(-np.pi, np.pi, size=(n_frames, 2))
    return wrap_torsions(torch.from_numpy(xi))


def wrap_torsions(xi):
    xi[:, 17:] = wrap(xi[:, 17:])
    return xi


@pytest.fixture(scope="module")
def flow(chart, spinning, perturb):
    """A flow of random weights in internal coordinates."""
    standard = standardise(spinning, 10)
    scale = latent_scale(chart, standard, chart.inverse(spinning[:8])[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = internal_flow(OPTIONS, chart, standard, scale)
    perturb(whole, seed=4, size=0.1)
    return whole.double()
