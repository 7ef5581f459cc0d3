"""Allocation and container to running ranks."""
