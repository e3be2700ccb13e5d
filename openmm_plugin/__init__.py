"""All that touches OpenMM: forces from exported collective variables, simulations, biases."""
