"""Engines: what provides the processor. One file per family, one protocol (:mod:`harness.engines.base`)."""
