"""A hypervisor that runs a whole operating system: an unmodified Linux, judged from outside and by what it says."""
