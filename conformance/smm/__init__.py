"""How a hypervisor deals with system management mode (15.22, 15.30.3, 15.32)."""
