"""What Slurm says: allocations, steps, nodes and partitions as frozen data."""
