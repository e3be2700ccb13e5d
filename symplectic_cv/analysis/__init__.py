"""Measures of a trained model on a trajectory: frequencies, torsions, mutual information."""
