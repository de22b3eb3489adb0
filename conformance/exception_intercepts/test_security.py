"""#SX, which an INIT becomes where VM_CR.R_INIT says so (15.12.20)."""

from conformance.enabling.test_r_init import APIC, INIT, SX
from conformance.intercepts.tried import NOT_RUN
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.lab.steps import rdmsr, wrmsr
from harness.model import exits
from harness.msr import Msr, VmCr

SENT = f"""
    clgi
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    test al, {VmCr.R_INIT:#x}
    jz near never
    mov edi, {APIC:#x}
    mov dword [rdi + 0xF0], 0x1FF
    mov edx, [rdi + 0x20]
    mov [rdi + 0x310], edx
    mov dword [rdi + 0x300], {INIT:#x}
"""
"""With GIF=0, so that the INIT waits for VMRUN. Not without R_INIT: it would reset the processor."""

IT = guest(Mode.LONG, "nop\nvmmcall", intercept_exceptions=1 << SX, exitcode=NOT_RUN)
PROGRAM = visits(
    {"INIT": Visit(IT, SENT, "stgi\nnever:")},
    first=(wrmsr(Msr.VM_CR, VmCr.R_INIT), rdmsr(Msr.VM_CR).model_copy(update={"name": "VM_CR"})),
)


@requirement("SVM-15.12.20-001")
@executes(PROGRAM)
def test_intercepted_security_exception_exits(ran: Seen) -> None:
    """With VM_CR.R_INIT=1 an INIT in a guest that intercepts #SX exits with 5Eh, and EXITINFO1 is 1."""
    assert ran["VM_CR"].value & VmCr.R_INIT, "R_INIT could not be set"
    seen = ran.vmrun("INIT")
    assert (seen.exit, seen.info1) == (exits.EXCEPTION + SX, 1)
    assert seen.after.rip == seen.before.rip
