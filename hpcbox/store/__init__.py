"""The node store: verified layers and images on node-local disk."""
