"""In which modes of the host VMRUN exists, and how much of rAX it uses in each (15.5.1)."""

from conformance.vmrun.guests import FLAG, VMMCALL, each_ends, long_mode
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program, Step, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, vmrun

UD = 6
VMCB = places.VMCBS
GARBAGE = 0x5555_5555_0000_0000


def in_turn(*steps: Step) -> dict[str, Program]:
    """One program: enable SVM, then these steps, with a legal guest in 64-bit mode at :data:`VMCB`."""
    it = long_mode()
    return {"": program(*enable_svm(), *steps, guests={VMCB: it}, watches={FLAG: 8})}


def short(mode: StepMode, rax: int, name: str) -> Step:
    """VMRUN with an address-size override, which makes EAX of RAX in 64-bit mode, and of AX in 16-bit code."""
    return code("a32 vmrun", mode=mode, cpl=mode.cpls[0], rax=rax, vmcb=VMCB, name=name)


OUTSIDE = ("real mode", "virtual-8086 mode")


@requirement("SVM-15.5.1-003")
@executes(
    in_turn(
        *(short(StepMode(name), VMCB, name) for name in OUTSIDE), vmrun(VMCB, mode=StepMode.LONG, name="64-bit mode")
    )
)
def test_vmrun_outside_protected_mode_is_ud(ran: Seen) -> None:
    """VMRUN in real mode and in virtual-8086 mode raises #UD, where the same in 64-bit mode runs the guest."""
    seen = {name: (ran[name].vector, ran[name].rip) for name in OUTSIDE}
    assert seen == dict.fromkeys(OUTSIDE, (UD, 0))
    assert ran.vmrun("64-bit mode").exit == VMMCALL


@requirement("SVM-15.5.1-045")
@executes(
    in_turn(
        short(StepMode.LONG, GARBAGE | VMCB, "64-bit mode, 32-bit address"),
        code("vmrun", rax=GARBAGE | VMCB, vmcb=VMCB, name="64-bit mode"),
        vmrun(VMCB, mode=StepMode.COMPATIBILITY, name="compatibility mode"),
    )
)
def test_address_size_says_how_much_of_rax(ran: Seen) -> None:
    """VMRUN uses EAX with an address-size override and in 32-bit code, and all of RAX in 64-bit code without."""
    each_ends(ran, {"64-bit mode, 32-bit address": VMMCALL, "64-bit mode": "#13", "compatibility mode": VMMCALL})
