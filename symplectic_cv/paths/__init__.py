"""Paths between conformations in the latent space."""
