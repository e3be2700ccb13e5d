"""The version, in one place; reading it imports nothing else."""

VERSION = "0.1.0"
