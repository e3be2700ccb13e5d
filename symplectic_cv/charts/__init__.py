"""Charts of a molecule's shape besides the Eckart frame: bonds, angles and torsions."""
