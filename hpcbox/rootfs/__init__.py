"""Layers to container root: unpacking and stacking."""
