"""Address spaces and what the TLB knows of them (15.16)."""
