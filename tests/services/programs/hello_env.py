#!/usr/bin/python3
"""Ranks that know each other from variables alone, as torchrun's: all meet at rank 0's address.

Each says how many came there.
"""

import os
import socket
import time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
meeting_point = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def host() -> bytes:
    """Wait for all others and tell each how many came."""
    with socket.create_server(meeting_point, backlog=size) as server:
        others = [server.accept()[0] for _ in range(size - 1)]
    came = b"%d" % (len(others) + 1)
    for other in others:
        other.sendall(came)
        other.close()
    return came


def guest() -> bytes:
    """Come to rank 0, which may not be there yet, and hear how many came."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(meeting_point) as connection:
                return connection.recv(16)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


came = host() if rank == 0 else guest()
local = f"{os.environ['LOCAL_RANK']} of {os.environ['LOCAL_WORLD_SIZE']}"
print(f"rank {rank} size {came.decode()} node {os.uname().nodename} local {local}", flush=True)
