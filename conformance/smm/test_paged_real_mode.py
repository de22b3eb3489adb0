"""RSM to paged real mode (15.19)."""

from conformance.smm.handler import COUNT, FIELDS, HANDLER, MARK, SMI, WATCHES, first, has_smm
from conformance.tlb.moved import CONTENT, MOVED, OLD, PAGE
from conformance.vmrun.guests import VMMCALL
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Mode, guest
from harness.lab.paging import Form, PageTables
from harness.lab.program import SCRATCH_END, Program, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, vmrun
from harness.model.registers import Cr0, Cr4

TABLES = PageTables(places.OWN_TABLES, Form.TWO_LEVEL).identity(SCRATCH_END, 1 << 22).map(PAGE, OLD)
ARMED = places.DATA + 0x8010
"""When it is not 0 the handler changes what RSM goes back to."""

PAGED_REAL = assemble(
    f"""
    a32 inc dword [dword {COUNT:#x}]
    a32 cmp dword [dword {ARMED:#x}], 0
    je back
    mov ax, cs
    movzx ebp, ax
    shl ebp, 4
    a32 mov eax, [ebp + {FIELDS["cr0"]:#x}]
    xor eax, {Cr0.PE | Cr0.PG:#x}
    a32 mov [ebp + {FIELDS["cr0"]:#x}], eax
    a32 mov dword [ebp + {FIELDS["cr3"]:#x}], {TABLES.root:#x}
back:
    a32 inc dword [dword {MARK:#x}]
    rsm
    """,
    16,
    org=0x8000,
)

APIC = 0xFEE0_0000
SENDS = f"""
    mov eax, {Cr4.PSE:#x}
    mov cr4, eax
    mov dword [{ARMED:#x}], 1
    mov edi, {APIC:#x}
    mov edx, [edi + 0x20]
    mov [edi + 0x310], edx
    mov dword [edi + 0x300], {SMI:#x}
    mov ecx, 200
wait_for_it:
    pause
    loop wait_for_it
    mov edx, cr0
    test edx, {Cr0.PG:#x}
    jz came_back_unpaged
    movzx ebx, byte [{PAGE:#x}]
came_back_unpaged:
    mov eax, {Cr0.PE | Cr0.ET:#x}
    mov cr0, eax
    mov eax, {Cr4.PAE:#x}
    mov cr4, eax
"""
"""From protected mode, whose segments stay as they are; EBX is what is read by the tables, EDX is CR0 meanwhile."""


VMRUN_READS = guest(
    Mode.PAGED_REAL, f"a32 movzx ebx, byte [dword {PAGE:#x}]\nvmmcall", cr3=TABLES.root, ds__limit=0xFFFF_FFFF
)
"""A guest in the same mode, with the same tables."""


def returned() -> dict[str, Program]:
    """An SMI for the host as it is, the guest, and an SMI whose RSM goes elsewhere."""
    at = places.VMCBS
    reads = vmrun(at, name="VMRUN")
    steps = (*enable_svm(), *first(PAGED_REAL), reads, code(SENDS, mode=StepMode.PROTECTED, name="RSM"))
    memory = TABLES.regions | CONTENT | {HANDLER: PAGED_REAL, ARMED: bytes(8)}
    return {"": program(*steps, guests={at: VMRUN_READS}, memory=memory, watches=WATCHES)}


@requirement("SVM-15.19-002")
@executes(returned())
def test_rsm_returns_to_paged_real_mode(ran: Seen) -> None:
    """After RSM with PG=1 and PE=0 in the save area the processor is in paged real mode, as a guest of VMRUN can be."""
    has_smm(ran)
    assert (ran.vmrun("VMRUN").exit, ran.vmrun("VMRUN").step.registers["rbx"]) == (VMMCALL, MOVED[0])
    found = ran["RSM"].registers
    assert found["rdx"] & (Cr0.PE | Cr0.PG) == Cr0.PG, f"CR0 is {found['rdx']:#x}"
    assert found["rbx"] == MOVED[0]
