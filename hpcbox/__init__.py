"""hpcbox: container jobs on Slurm, seen in a terminal.

Importing this package loads nothing else: what starts on a node pays for every import.
"""

__version__ = "0.1.0.dev0"
