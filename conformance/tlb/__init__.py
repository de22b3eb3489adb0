"""The TLB: when it is flushed, and of what (15.16)."""
