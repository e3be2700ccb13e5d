"""A chain of four atoms whose density is known: one torsion, and stiff bonds and angles."""

import itertools
import math

import mdtraj as md
import numpy as np
import torch
from torch.distributions import Normal, VonMises

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.molecule import Molecule

MEAN = torch.tensor([0.153, 0.153, 0.153, 1.95, 1.95], dtype=torch.float64)
SPREAD = torch.tensor([0.004, 0.004, 0.004, 0.06, 0.06], dtype=torch.float64)
"""The widths of the bonds (nm) and the angles (rad), which are independent and normal."""
WELLS, KAPPA = torch.tensor([1.4, -1.4], dtype=torch.float64), 2.5
"""The density of the torsion: two von Mises laws, rad."""
POPULATIONS = torch.tensor([0.9, 0.1], dtype=torch.float64)


class Chain(Hamiltonian):
    """Four atoms; βU is chosen such that ξ has the density `log_torsion` times Gaussians."""

    name = "chain"
    dimension = 6

    def __init__(self, molecule, frame, log_torsion):
        self.frame, self.log_torsion = frame, log_torsion
        self.chart = InternalCoordinates(frame, molecule_z_matrix(molecule))

    def potential(self, q):
        xi = self.chart(q.double())[0]
        volume = 2.0 * xi[:, :3].log().sum(-1) + xi[:, 3:5].sin().log().sum(-1)
        stiff = Normal(MEAN, SPREAD).log_prob(xi[:, :5]).sum(-1)
        return volume - stiff - self.log_torsion(xi[:, 5])

    def log_volume(self, q):
        return self.frame.log_volume(q)

    def exact_free_energy(self, beta):
        """∫ |det A| exp(−βU) dq = exp(−constant), for |det A| dq = exp(−constant) r² sin θ dξ."""
        return float(self.chart.constant) - 0.5 * self.dimension * math.log(2.0 * math.pi)


def two_wells(phi):
    parts = VonMises(WELLS, torch.tensor(KAPPA).double()).log_prob(phi.unsqueeze(-1))
    return torch.logsumexp(parts + POPULATIONS.log(), -1)


def uniform(phi):
    return torch.full_like(phi, -math.log(2.0 * math.pi))


def four_atoms():
    """A chain of four carbon atoms."""
    topology = md.Topology()
    residue = topology.add_residue("BUT", topology.add_chain())
    atoms = [topology.add_atom(f"C{k}", md.element.carbon, residue) for k in range(4)]
    for pair in itertools.pairwise(atoms):
        topology.add_bond(*pair)
    return Molecule(topology, np.full(4, 12.011), np.arange(4), 4)


def frames(chain, torsions, seed):
    """Structures with these torsions (F,) and stiff coordinates of the known law, (F, 4, 3)."""
    noise = np.random.default_rng(seed).normal(size=(len(torsions), 5))
    xi = np.c_[MEAN + SPREAD * torch.from_numpy(noise), torsions]
    start = torch.tensor([[0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.2, 0.14, 0.0], [0.3, 0.2, 0.1]])
    frame = EckartFrame(start.double(), torch.as_tensor(chain.masses), 300.0)
    return InternalCoordinates(frame, molecule_z_matrix(chain)).place(torch.from_numpy(xi)).numpy()
