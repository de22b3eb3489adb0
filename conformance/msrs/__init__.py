"""Cases about the MSRs of SVM (15.30) that have no folder of their own."""
