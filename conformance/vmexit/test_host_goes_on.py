"""How the host goes on after #VMEXIT (15.6): by its own rules, whatever the VMCB says of the guest."""

from conformance.gif.interrupts import VECTOR, source
from conformance.vmrun.guests import VMMCALL
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.program import StepMode
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Misc1, Rflags, Vintr

_SIGN = 7
_PORTS_AND_MSRS = Misc1.IOIO_PROT | Misc1.MSR_PROT  # they would need maps
INTERCEPTED = guest(
    Mode.LONG,
    intercept_cr_read=0xFFFF, intercept_cr_write=0xFFFF, intercept_dr_read=0xFFFF, intercept_dr_write=0xFFFF,
    intercept_misc1=0xFFFF_FFFF & ~_PORTS_AND_MSRS, intercept_misc2=0x3FFF,
)  # fmt: skip
TRIES = f"""
    cpuid
    rdtsc
    pushfq
    popfq
    sidt [{places.DATA:#x}]
    mov r8, cr0
    mov cr0, r8
    mov r8, dr7
    mov dr7, r8
    wbinvd
    mov r9d, {_SIGN}
"""
HALTS = f"send_interrupt\nstgi\nsti\nhlt\nmov r9d, {_SIGN}"
_AFTER_HLT = 6
"""Bytes of the host's code behind HLT."""


@requirement("SVM-15.6-006")
@executes(
    visits({"instructions": Visit(INTERCEPTED, after=TRIES), "HLT": Visit(INTERCEPTED, source("clgi"), after=HALTS)})
)
def test_host_is_not_intercepted(ran: Seen) -> None:
    """The host executes what its guest's VMCB intercepts; its HLT ends with an interrupt."""
    seen = registers(ran, "instructions")
    assert (ran["instructions"].vector, seen["r9"]) == (None, _SIGN)
    halted, code = ran["HLT"], next(step.code for step in ran.program.steps if step.name == "HLT")
    assert ran.vmrun("HLT").after.exitcode == VMMCALL
    assert (halted.vector, halted.rip) == (VECTOR, len(code) - _AFTER_HLT)


PENDING = guest(Mode.LONG, vintr=Vintr.V_IRQ | 0xF << 16 | 0x80 << 32)
IS_OPEN = f"stgi\nsti\nmov ecx, 1000\n.on: loop .on\ncli\nmov r9d, {_SIGN}"


@requirement("SVM-15.6-008")
@executes(visits({"": Visit(PENDING, after=IS_OPEN)}))
def test_virtual_interrupt_is_not_the_hosts(ran: Seen) -> None:
    """A virtual interrupt that the guest has not taken does not come in the host, with GIF and RFLAGS.IF 1."""
    seen = registers(ran, "")
    assert ran.vmrun("").after.vintr & Vintr.V_IRQ, "the guest took it"
    assert (ran[""].vector, seen["r9"]) == (None, _SIGN)


MASKED = guest(Mode.LONG, vintr=int(Vintr.V_INTR_MASKING))
WAITS = "stgi\nsend_interrupt\nmov r8d, 2\nsti\nnop\nmov r8d, 3"
MASKING = {
    "IF=1 at VMRUN": Visit(MASKED, before=source("mov r8d, 1\nsti"), after=f"cli\n{WAITS}"),
    "IF=0 at VMRUN": Visit(MASKED, before=source("mov r8d, 1\ncli"), after=WAITS),
}


@requirement("SVM-15.6-023")
@executes(visits(MASKING))
def test_host_masks_by_its_own_flag(ran: Seen) -> None:
    """After a guest with V_INTR_MASKING=1 the host takes an interrupt when it sets RFLAGS.IF, and not before."""
    for name in MASKING:
        assert ran.vmrun(name).after.exitcode == VMMCALL, name
        assert (ran[name].vector, ran[name].registers["r8"]) == (VECTOR, 2), name


V86 = guest(Mode.V86)
PRIVILEGED = f"clts\nmov edx, {_SIGN}"


def leaves_virtual_8086_mode(ran: Seen) -> None:
    """The guest had RFLAGS.VM=1, the host has 0, and executes what is privileged."""
    seen = registers(ran, "")
    assert ran.vmrun("").after.rflags & Rflags.VM, "the guest had VM=0"
    assert (ran[""].vector, seen["rdx"], ran[""].rflags & Rflags.VM) == (None, _SIGN, 0)


@requirement("SVM-15.6-014")
@executes(visits({"": Visit(V86, after=PRIVILEGED, mode=StepMode.PROTECTED)}))
def test_host_is_not_in_virtual_8086_mode(ran: Seen) -> None:
    """After the exit of a guest in virtual-8086 mode a host in protected mode has RFLAGS.VM=0 and CPL 0."""
    leaves_virtual_8086_mode(ran)


@requirement("SVM-15.6-014")
@executes(visits({"": Visit(V86, after=PRIVILEGED)}))
def test_host_in_long_mode_has_vm_0(ran: Seen) -> None:
    """The same for a host in 64-bit mode, where RFLAGS.VM would be nothing but a wrong bit."""
    leaves_virtual_8086_mode(ran)


REAL = Visit(guest(Mode.REAL, "mov ecx, cr0\nvmmcall"), after="mov r9, cr0")


@requirement("SVM-15.6-031")
@executes(visits({"": REAL}))
def test_host_is_in_protected_mode(ran: Seen) -> None:
    """After the exit of a guest with CR0.PE=0 the host has PE=1."""
    seen = registers(ran, "")
    assert not (seen["rcx"] | ran.vmrun("").after.cr0) & Cr0.PE, "the guest had PE=1"
    assert seen["r9"] & Cr0.PE
