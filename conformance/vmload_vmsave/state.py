"""The state that VMLOAD and VMSAVE move, and VMRUN does not (15.5.2): where it is in a VMCB, and in which MSRs."""

from harness.lab import places
from harness.lab.vmcb import Draft

MSRS = {
    "fs.base": 0xC000_0100,
    "gs.base": 0xC000_0101,
    "kernel_gs_base": 0xC000_0102,
    "star": 0xC000_0081,
    "lstar": 0xC000_0082,
    "cstar": 0xC000_0083,
    "sfmask": 0xC000_0084,
    "sysenter_cs": 0x174,
    "sysenter_esp": 0x175,
    "sysenter_eip": 0x176,
}
"""Fields of the VMCB that are MSRs by themselves."""


def values(salt: int) -> dict[str, int]:
    """A legal value for each of :data:`MSRS`, all different: canonical, SFMASK with 32 bits, SYSENTER_CS with 16."""
    wide = {name: 0x7F00_0000_1000 + (salt << 24 | number << 16) for number, name in enumerate(MSRS)}
    return wide | {"sfmask": 0x1000 + salt, "sysenter_cs": 0x2000 + salt}


def writing(them: dict[str, int]) -> str:
    """Code that writes these MSRs."""
    return "".join(
        f"mov ecx, {MSRS[name]:#x}\nmov eax, {value & 0xFFFF_FFFF:#x}\nmov edx, {value >> 32:#x}\nwrmsr\n"
        for name, value in them.items()
    )


def reading(address: int) -> str:
    """64-bit code that stores all of :data:`MSRS` at that address, 8 bytes each."""
    return "".join(
        f"mov ecx, {msr:#x}\nrdmsr\nmov [{address + 8 * number:#x}], eax\nmov [{address + 8 * number + 4:#x}], edx\n"
        for number, msr in enumerate(MSRS.values())
    )


def decoded(stored: bytes) -> dict[str, int]:
    """What :func:`reading` stored, by field."""
    return {name: int.from_bytes(stored[8 * n : 8 * n + 8], "little") for n, name in enumerate(MSRS)}


READ_SIZE = 8 * len(MSRS)
"""Bytes that :func:`reading` stores."""

SEGMENTS = {
    "fs": {"selector": 0x1233, "attrib": 0x493, "limit": 0x000A_BCDE, "base": 0x7F00_1122_3000},
    "gs": {"selector": 0x4560, "attrib": 0xCF3, "limit": 0xFFFF_FFFF, "base": 0x7F00_4455_6000},
    "ldtr": {"selector": 0x7898, "attrib": 0x082, "limit": 0x0000_0FF7, "base": 0x7F00_7788_9000},
    "tr": {"selector": 0xABC8, "attrib": 0x08B, "limit": 0x0000_1067, "base": 0x7F00_AABB_C000},
}
"""Segments that no descriptor of the probe looks like."""

PAGE, OTHER = places.DATA, places.DATA + 0x2000
"""A page to load from or save to, and another one, each with a page behind it."""


def filled(salt: int) -> Draft:
    """A VMCB whose state of this kind is :data:`SEGMENTS` and :func:`values`; all else is 0."""
    fields = {f"{name}__{part}": value for name, parts in SEGMENTS.items() for part, value in parts.items()}
    # The bases of FS and GS are MSRs, too: these values win.
    return Draft(**fields | {name.replace(".", "__"): value for name, value in values(salt).items()})
