"""Intercepts of instructions: what exits, with which code, and what comes first, the intercept or a fault (15.9)."""
