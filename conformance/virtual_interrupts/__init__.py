"""Virtual interrupts (15.21): what VMRUN loads of them."""
