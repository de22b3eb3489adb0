"""What becomes of A20 for a guest that has the machine's ports (15.25.11)."""
