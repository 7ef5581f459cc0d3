"""Container root to a process in it: mounts, environment, identity."""
