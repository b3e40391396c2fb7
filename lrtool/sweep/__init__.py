"""Sweeps: trials under varied conditions, each in a process of its own, and what their memory says together."""
