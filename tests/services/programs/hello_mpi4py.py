#!/usr/bin/python3
"""As hello_mpi.c, in Python: each rank says how many an allreduce over all ranks counted."""

import os

from mpi4py import MPI  # type: ignore[import-not-found]  # the image has it

size = MPI.COMM_WORLD.allreduce(1)
print(f"rank {MPI.COMM_WORLD.Get_rank()} size {size} node {os.uname().nodename}", flush=True)
