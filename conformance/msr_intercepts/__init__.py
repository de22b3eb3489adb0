"""Which MSRs a hypervisor lets its guest at (15.11, 15.25)."""
