"""The lab: programs that the probe executes step by step on an engine, and what it saw (docs/lab.md)."""
