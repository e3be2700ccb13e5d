"""Files on disk: written whole or not at all, tables, and the folder of a run."""
