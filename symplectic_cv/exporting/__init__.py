"""Collective variables for other programs: TorchScript, the native core, PLUMED."""
