"""Reading of trajectories: whole molecules in memory from files and other libraries."""
