"""Learning: maximum likelihood on frames, and variationally from a Hamiltonian alone."""
