"""What a trained model says of a trajectory: frequencies, torsions, figures, a report."""
