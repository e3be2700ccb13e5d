"""Analysis of biased runs: hills, weights, free energies."""
