"""Guests that are whole operating systems: what is booted, how it gets into a machine, what it says of itself."""
