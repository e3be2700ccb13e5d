"""Canonical transformations: point, linear and continuous flows, and their chains."""
