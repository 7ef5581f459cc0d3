"""All I/O of the screens: threads that look again and again, and tell a screen what they saw."""
