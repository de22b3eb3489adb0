"""RF and TF around VMRUN: the host's own, and those that the guest begins with (15.5.1, vol. 2, 13.1)."""

from collections.abc import Mapping

from conformance.vmrun.guests import CATCH, FLAG, VMMCALL, each_ends, long_mode, runs
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program, Step
from harness.lab.programs import program
from harness.lab.seen import Seen, StepSeen
from harness.lab.steps import code, enable_svm
from harness.model import exits
from harness.model.registers import Rflags

DB = 1
TF = 1 << 8
BS = 1 << 14
"""DR6: the #DB comes from TF."""

BREAK_0 = 0x401
"""DR7: an instruction breakpoint at DR0."""

RETURN = """
    mov rdx, rsp
    mov ecx, ss
    push rcx
    push rdx
    push {flags:#x}
    mov ecx, cs
    push rcx
    lea rcx, [rel there]
    push rcx
    {before}
    iretq
there:
    vmrun
    nop
    nop
"""
"""IRETQ to a VMRUN with these flags; its target is in RCX before."""

VMCB = places.VMCBS


def around(steps: Mapping[str, str]) -> dict[str, Program]:
    """One program: a legal guest in 64-bit mode; each of these pieces of code runs it, then DR6 is read into RAX."""
    found: list[Step] = []
    for name, source in steps.items():
        found.append(code("mov dr6, rax", rax=0xFFFF_0FF0))
        found.append(code(source, rax=VMCB, vmcb=VMCB, name=name))
        found.append(code("mov rax, dr6", name=f"DR6 of {name}"))
        found.append(code(f"mov byte [{FLAG:#x}], 0"))
    return {"": program(*enable_svm(), *found, guests={VMCB: long_mode()}, watches={FLAG: 8})}


def breakpoint(flags: int) -> str:
    """Code that meets VMRUN with an instruction breakpoint on it and these flags."""
    return RETURN.format(flags=flags, before=f"mov dr0, rcx\nmov ecx, {BREAK_0:#x}\nmov dr7, rcx")


def is_trap_behind(ran: Seen, name: str) -> StepSeen:
    """The step ended with a #DB at the first of the two NOPs behind VMRUN, and the guest had run."""
    step = ran[name]
    code = next(one.code for one in ran.program.steps if one.name == name)
    assert (step.vector, step.rip) == (DB, len(code) - 2)
    assert FLAG in step.changes, "the guest did not run"
    return step


HOST_RF = {"RF set": breakpoint(Rflags.RF | 2), "RF clear": breakpoint(2)}


@requirement("SVM-15.5.1-F-001")
@executes(around(HOST_RF))
def test_host_rf_suppresses_a_breakpoint_on_vmrun(ran: Seen) -> None:
    """An instruction breakpoint on VMRUN raises #DB before it, but not when it is met with RFLAGS.RF=1."""
    suppressed, hit = (ran[name] for name in HOST_RF)
    assert suppressed.vector is None and FLAG in suppressed.changes
    assert (hit.vector, FLAG in hit.changes) == (DB, False)


HOST_TF = {
    "TF": "pushfq\nor qword [rsp], 0x100\npopfq\nvmrun\nnop\nnop",
    "no TF": "pushfq\npopfq\nvmrun\nnop\nnop",
}


@requirement("SVM-15.5.1-F-002")
@executes(around(HOST_TF))
def test_host_tf_traps_behind_vmrun(ran: Seen) -> None:
    """With RFLAGS.TF=1 in the host before VMRUN, #DB is raised after #VMEXIT, at the instruction behind VMRUN."""
    is_trap_behind(ran, "TF")
    assert ran["no TF"].vector is None
    assert [ran[f"DR6 of {name}"].registers["rax"] & BS for name in HOST_TF] == [BS, 0]


HOST_RF_TF = {"RF and TF": breakpoint(Rflags.RF | TF | 2), "TF alone": breakpoint(TF | 2)}


@requirement("SVM-15.5.1-F-006")
@executes(around(HOST_RF_TF))
def test_host_rf_is_clear_after_vmexit(ran: Seen) -> None:
    """A VMRUN that was met with RFLAGS.RF=1 has cleared it: the frame of the #DB that TF raises behind it has RF=0."""
    assert is_trap_behind(ran, "RF and TF").rflags & (Rflags.RF | TF) == TF
    assert FLAG not in ran["TF alone"].changes, "there was no breakpoint that RF suppressed"


def with_breakpoint(it: Guest) -> dict[str, Program]:
    """One program: DR0 is where this guest begins; it runs with and without RFLAGS.RF."""
    guests = {VMCB + number * places.PAGE: it.copy() for number in range(2)}
    for rf, one in zip((0, Rflags.RF), guests.values(), strict=True):
        one.vmcb.rflags |= rf
    names = zip(("RF clear", "RF set"), guests, strict=True)
    taken = (code("mov dr0, rcx\nvmrun", rax=at, rcx=it.entry, vmcb=at, name=name) for name, at in names)
    return {"": program(*enable_svm(), *taken, guests=guests)}


@requirement("SVM-15.5.1-F-003")
@executes(with_breakpoint(guest(Mode.LONG, "nop\nvmmcall", dr7=BREAK_0, intercept_exceptions=CATCH)))
def test_guest_rf_suppresses_a_breakpoint_on_its_first_instruction(ran: Seen) -> None:
    """An instruction breakpoint on the guest's first instruction raises #DB, but not when VMRUN loads RFLAGS.RF=1."""
    each_ends(ran, {"RF clear": exits.EXCEPTION + DB, "RF set": VMMCALL})
    assert ran.vmrun("RF clear").after.rip == ran.vmrun("RF clear").before.rip


TWO = guest(Mode.LONG, "nop\nnop\nvmmcall", intercept_exceptions=CATCH)
SINGLE = {"TF clear": TWO, "TF set": TWO.copy()}
SINGLE["TF set"].vmcb.rflags |= TF


@requirement("SVM-15.5.1-F-004")
@executes(runs(SINGLE))
def test_guest_tf_traps_after_its_first_instruction(ran: Seen) -> None:
    """With RFLAGS.TF=1 in the VMCB the guest's #DB comes after its first instruction, and not before it."""
    each_ends(ran, {"TF clear": VMMCALL, "TF set": exits.EXCEPTION + DB})
    trapped = ran.vmrun("TF set")
    assert trapped.after.rip == trapped.before.rip + 1
