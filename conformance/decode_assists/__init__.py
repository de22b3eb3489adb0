"""What a #VMEXIT tells of the instruction that caused it, on a processor with decode assists only (15.8)."""
