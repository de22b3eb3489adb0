"""VMRUN (15.5): its faults on the platform, and what a hypervisor must hand it."""
