"""Biased simulations on the modes of a model: metadynamics, OPES, walkers, umbrella windows."""
