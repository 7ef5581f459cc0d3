"""Flags to request: what the user wants, parsed and checked."""
