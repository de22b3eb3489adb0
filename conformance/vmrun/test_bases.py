"""Segment bases that are not canonical: VMRUN extends their sign, and refuses none (15.5.1)."""

from conformance.vmrun.guests import VMMCALL, each_ends, runs
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen

BASE, EXTENDED = 0x8000_0000_0000, 0xFFFF_8000_0000_0000
"""Bit 47, the highest of a linear address with four levels of tables, and what it becomes."""

ORDINARY = 0x1234_5000
NAMES = ("es", "cs", "ss", "ds", "gdtr", "idtr")

BASES = {
    "bit 47": guest(Mode.LONG, "vmmcall", **{f"{name}__base": BASE for name in NAMES}),
    "ordinary": guest(Mode.LONG, "vmmcall", gdtr__base=ORDINARY, idtr__base=ORDINARY),
}


@requirement("SVM-15.5.1-C-028")
@executes(runs(BASES))
def test_bases_are_sign_extended(ran: Seen) -> None:
    """Bases with bit 47 set and bits 63:48 clear are legal, and GDTR and IDTR have the sign extended afterwards."""
    each_ends(ran, dict(zip(BASES, (VMMCALL, VMMCALL), strict=True)))
    for name, expected in (("bit 47", EXTENDED), ("ordinary", ORDINARY)):
        after = ran.vmrun(name).after
        assert (after.gdtr.base, after.idtr.base) == (expected, expected), name
