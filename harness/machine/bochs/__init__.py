"""A running Bochs: its ROM, its configuration, its debugger behind our own words, its end."""
