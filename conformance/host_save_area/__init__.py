"""The host save area (15.30.4): a page of its own that belongs to the processor."""
