"""Intercepts of interrupts, physical and virtual, of NMIs, SMIs and INIT (15.13)."""
