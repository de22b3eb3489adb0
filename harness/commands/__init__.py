"""The commands, a module each; each offers ``command``."""
