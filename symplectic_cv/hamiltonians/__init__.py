"""Hamiltonians to learn from without any data: built-in ones, and what your own needs."""
