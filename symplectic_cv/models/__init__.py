"""Models: a flow with its harmonic prior, in phase space and of a molecule, and their folders."""
