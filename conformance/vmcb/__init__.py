"""The layout of the VMCB (appendix B)."""
