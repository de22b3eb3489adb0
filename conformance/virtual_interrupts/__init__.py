"""Interrupts of guests, virtual and physical, the task priority, interrupt shadows (15.21)."""
