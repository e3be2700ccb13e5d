"""Simulations that survive a kill: dynamics, checkpoints, failures, processes."""
