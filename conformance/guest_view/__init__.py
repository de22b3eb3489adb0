"""What a guest sees of SVM when its hypervisor hides it (15.11, 15.5.2, 15.17)."""
