"""A layer between the emulator and the software under test: an operating system that offers virtual machines.

Layers are counted from below. L0 is QEMU with TCG, on this machine. L1 is an operating system in it (Linux with KVM,
Xen). L2 is what L1 runs for us: the hypervisor under test, or the probe. L3 is that hypervisor's guest.
"""
