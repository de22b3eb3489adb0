"""What guests may do to a hypervisor that gives them a whole machine, and must not do to it (15.10, 15.11, 15.14)."""
