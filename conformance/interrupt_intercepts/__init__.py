"""Intercepts of interrupts, physical and virtual, and of NMIs (15.13)."""
