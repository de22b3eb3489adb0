"""Guests that take turns: what each finds again."""
