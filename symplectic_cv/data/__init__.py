"""From trajectory files to whole molecules in memory."""
