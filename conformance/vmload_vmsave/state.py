"""The state that VMLOAD and VMSAVE move, and VMRUN does not (15.5.2): where it is in a VMCB, and in which MSRs."""

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
