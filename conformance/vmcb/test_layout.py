"""The areas of the VMCB: the control area, and the state that is saved, from 400h on (appendix B)."""

import struct

from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits

GP = exits.EXCEPTION + 13

EXIT_CODE, SAVE_AREA = 0x70, 0x400
HOST_SOFTWARE = range(0x3E0, 0x400)
RESERVED = (range(0x018, 0x03C), range(0x170, 0x3E0))
"""Bytes of the control area that no feature has given a meaning."""

WRITTEN = (range(0x60, 0x90), range(0xA8, 0xB0), range(0xC8, 0xE0))
"""What #VMEXIT may write there: interrupt control, exit information, EVENTINJ, nRIP and the instruction's bytes."""


def pattern(where: range) -> bytes:
    """No byte is 0, and no two neighbours are alike."""
    return bytes(at % 251 + 1 for at in where)


def filled(*places: range) -> Guest:
    """A guest with a pattern in these bytes of its VMCB, and in EXITCODE."""
    it = guest(Mode.LONG)
    for where in (*places, range(EXIT_CODE, EXIT_CODE + 8)):
        it.vmcb.put(where.start, pattern(where))
    return it


def kept(ran: Seen, *places: range) -> None:
    """The guest ran, which #VMEXIT has told in EXITCODE, and the patterns are still there."""
    it = ran.vmrun()
    assert it.exit == VMMCALL
    changed = [hex(at) for where in places for at in where if it.after.data[at] != it.before.data[at]]
    assert not changed, f"written: {', '.join(changed)}"


@requirement("SVM-B-003")
@executes({"": vmruns(filled(HOST_SOFTWARE))})
def test_bytes_of_host_software_mean_nothing(ran: Seen) -> None:
    """With anything in 3E0h to 3FFh the guest runs, and the bytes survive."""
    kept(ran, HOST_SOFTWARE)


@requirement("SVM-B-005")
@executes({"": vmruns(filled(*RESERVED))})
def test_reserved_bytes_are_not_written(ran: Seen) -> None:
    """Reserved bytes of the control area survive a #VMEXIT."""
    kept(ran, *RESERVED)


def with_es(selector: int) -> Guest:
    """A guest whose ES, the first field of the save area, holds this; it tells it, and leaves the next."""
    it = guest(Mode.REAL, f"mov cx, es\nmov ax, {selector + 0x10:#x}\nmov es, ax\nvmmcall")
    it.vmcb.put(SAVE_AREA, struct.pack("<H", selector))
    return it


SELECTORS = {"1230h": 0x1230, "3210h": 0x3210}


@requirement("SVM-B-001")
@executes({"": vmruns({name: with_es(selector) for name, selector in SELECTORS.items()})})
def test_save_area_begins_at_400h(ran: Seen) -> None:
    """ES is loaded from 400h and saved there; of the 1024 bytes before, #VMEXIT writes what exits are described by."""
    for name, selector in SELECTORS.items():
        it = ran.vmrun(name)
        assert it.exit == VMMCALL
        assert it.step.registers["rcx"] == selector
        assert struct.unpack_from("<H", it.after.data, SAVE_AREA) == (selector + 0x10,)
        differ = {at for at in range(SAVE_AREA) if it.before.data[at] != it.after.data[at]}
        assert EXIT_CODE in differ
        assert differ <= {at for where in WRITTEN for at in where}


GDT, SELECTOR = places.DATA, 0x2000
DATA_SEGMENT = struct.pack("<Q", 0x00CF_9300_0000_FFFF)


def with_gdt(limit: int) -> Guest:
    """A guest that loads ES with a selector whose descriptor is there, in a GDT of this limit."""
    it = guest(
        Mode.LONG,
        f"mov eax, {SELECTOR:#x}\nmov es, eax\nvmmcall",
        gdtr__base=GDT,
        gdtr__limit=limit,
        intercept_exceptions=1 << 13,
    )
    return it.having({GDT + SELECTOR: DATA_SEGMENT})


LIMITS = {"1_1234h": with_gdt(0x1_1234), "1234h": with_gdt(0x1234), "2100h": with_gdt(0x2100)}


@requirement("SVM-B-006")
@executes({"": vmruns(LIMITS)})
def test_limit_of_gdtr_has_16_bits(ran: Seen) -> None:
    """A descriptor beyond the low 16 bits of GDTR's limit cannot be loaded: #GP."""
    each_ends(ran, dict(zip(LIMITS, (GP, GP, VMMCALL), strict=True)))
