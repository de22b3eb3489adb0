"""VMLOAD and VMSAVE (15.5.2): what they move, from and to where, and when they fault."""
