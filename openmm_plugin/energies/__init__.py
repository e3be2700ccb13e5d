"""Potential energies and forces through OpenMM, as Hamiltonians to learn from and to sample."""
