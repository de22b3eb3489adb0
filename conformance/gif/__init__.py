"""The global interrupt flag (15.17)."""
