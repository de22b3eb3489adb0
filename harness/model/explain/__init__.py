"""Explains why a VMRUN failed: brings what was observed before the model, and puts the verdict into words.

What was observed comes from an observation (:mod:`.evidence`) or from a machine that runs (:mod:`.attached`).
"""
