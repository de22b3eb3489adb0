"""At which privilege level a guest begins (15.5.1): by the VMCB's CPL field, or by its mode."""

from conformance.vmrun.guests import CATCH, VMMCALL, each_ends, runs
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Cr0

GP = exits.EXCEPTION + 13
PRIVILEGED = "clts\nvmmcall"
"""CLTS is for CPL 0 alone, in every mode and with any IOPL."""

SS_OF_A_USER = {"ss__attrib": 0x93 | 3 << 5}

PROTECTED = {
    f"{mode.value} at CPL {cpl}": guest(mode, PRIVILEGED, cpl=cpl, intercept_exceptions=CATCH)
    for mode in (Mode.PROTECTED, Mode.LONG)
    for cpl in (0, 3)
}


@requirement("SVM-15.5.1-028")
@executes(runs(PROTECTED))
def test_cpl_of_protected_mode_is_that_of_the_vmcb(ran: Seen) -> None:
    """In protected mode the guest's CPL is the VMCB's, whatever the DPL of its CS and SS: CLTS raises #GP at CPL 3."""
    each_ends(ran, {name: GP if "CPL 3" in name else VMMCALL for name in PROTECTED})
    assert [ran.vmrun(name).after.cpl for name in PROTECTED] == [0, 3, 0, 3]


REAL = {
    "CPL 0": guest(Mode.REAL, PRIVILEGED, intercept_exceptions=CATCH),
    "CPL 3": guest(Mode.REAL, PRIVILEGED, intercept_exceptions=CATCH, cpl=3),
    "CPL 3, DPL 3": guest(Mode.REAL, PRIVILEGED, intercept_exceptions=CATCH, cpl=3, **SS_OF_A_USER),
}


@requirement("SVM-15.5.1-029")
@executes(runs(REAL))
def test_cpl_of_real_mode_is_0(ran: Seen) -> None:
    """In real mode the guest's CPL is 0, whatever the VMCB says: CLTS clears CR0.TS."""
    each_ends(ran, dict.fromkeys(REAL, VMMCALL))


V86 = {
    "virtual-8086 mode, CPL 3": guest(Mode.V86, PRIVILEGED, intercept_exceptions=CATCH),
    "virtual-8086 mode, CPL 0": guest(Mode.V86, PRIVILEGED, intercept_exceptions=CATCH, cpl=0),
    "virtual-8086 mode, CPL 0, DPL 0": guest(
        Mode.V86, PRIVILEGED, intercept_exceptions=CATCH, cpl=0, ss__attrib=0x93, cs__attrib=0x9B
    ),
    "real mode": guest(Mode.REAL, PRIVILEGED, intercept_exceptions=CATCH, cr0=Cr0.ET | Cr0.TS),
}


@requirement("SVM-15.5.1-030")
@executes(runs(V86))
def test_cpl_of_virtual_8086_mode_is_3(ran: Seen) -> None:
    """In virtual-8086 mode the guest's CPL is 3, whatever the VMCB says: CLTS raises #GP."""
    each_ends(ran, {name: GP if name.startswith("virtual") else VMMCALL for name in V86})
