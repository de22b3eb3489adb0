"""A running machine: launched with a deadline, watched from outside, and how it ended."""
