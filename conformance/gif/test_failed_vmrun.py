"""GIF after a VMRUN that was refused (15.5.1)."""

from conformance.gif.interrupts import NMI, VECTOR, source
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

VMCB = places.VMCBS
REFUSED = f"mov eax, {VMCB:#x}\nvmrun"
AFTER = "stgi\n{first}\n{send}\n{allow}\nwait_a_little\ninc ebx\nstgi\nwait_a_little\ninc ebx"
"""EBX counts: 0 when the interrupt is taken with what VMRUN left in GIF, 1 when it is taken at STGI."""

KINDS = {"INTR": {"send": "send_interrupt", "allow": "sti"}, "NMI": {"send": "send_nmi", "allow": "nop"}}
STEPS = [
    code(source(AFTER.format(first=first, **kind)), vmcb=vmcb, name=f"{name}{after}")
    for name, kind in KINDS.items()
    for after, first, vmcb in ((" after VMRUN", REFUSED, VMCB), ("", "nop", None))
]


@requirement("SVM-15.5.1-C-032")
@executes({"": program(*enable_svm(), *STEPS, guests={VMCB: guest(Mode.REAL, efer=0)})})
def test_gif_is_0_after_a_failed_vmrun(ran: Seen) -> None:
    """After VMEXIT_INVALID interrupts and NMIs are held until STGI, which without the VMRUN are taken at once."""
    assert ran.memory(VMCB + 0x70, 4, 2) == b"\xff\xff\xff\xff", "VMRUN was not refused"
    seen = {step.name: (ran[step.name].vector, ran[step.name].registers["rbx"]) for step in STEPS}
    assert seen == {"INTR after VMRUN": (VECTOR, 1), "INTR": (VECTOR, 0), "NMI after VMRUN": (NMI, 1), "NMI": (NMI, 0)}
