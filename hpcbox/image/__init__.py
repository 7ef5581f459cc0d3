"""Reference to manifest to layers; talks to registries, knows no disk layout."""
