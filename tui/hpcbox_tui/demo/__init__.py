"""A recorded cluster that plays without Slurm: `hpcbox --demo`, the tests and README's picture."""
