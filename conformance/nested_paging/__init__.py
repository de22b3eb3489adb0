"""Nested paging (15.25)."""
