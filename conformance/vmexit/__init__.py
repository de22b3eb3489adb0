"""#VMEXIT (15.6, appendix C): which code it leaves, and where."""
