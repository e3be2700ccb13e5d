"""What a biased run leaves behind, and what follows from it: hills, weights, free energies."""
