"""Intercepts of ports: the I/O permissions map, and what an exit says of the access (15.10)."""
