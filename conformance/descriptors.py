"""Segment descriptors, for tables of guests and hosts (vol. 2, 4.7 and 4.8)."""


def descriptor(flags: int, access: int, limit: int, base: int = 0) -> bytes:
    """A descriptor of 8 bytes.

    :param flags: bits 55:52 (G, D, L, AVL), :param access: bits 47:40, :param limit: its 20 bits.
    """
    low = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40
    return (low | (limit >> 16) << 48 | flags << 52 | (base >> 24 & 0xFF) << 56).to_bytes(8, "little")


def system_descriptor(access: int, limit: int, base: int) -> bytes:
    """A descriptor of 16 bytes, of an LDT (access 82h) or an available TSS (89h) in long mode."""
    return descriptor(0, access, limit, base & 0xFFFF_FFFF) + (base >> 32).to_bytes(8, "little")
