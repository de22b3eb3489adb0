"""Intercepts of exceptions: which exit, with which error code, and what has been written by then (15.12)."""
