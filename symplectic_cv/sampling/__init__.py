"""Exact sampling in the latent space of a model whose Hamiltonian is known."""
