"""Events that VMRUN injects into a guest (15.20): how they are delivered. Which ones it refuses is in vmrun."""
