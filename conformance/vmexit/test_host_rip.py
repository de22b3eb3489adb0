"""The host's RIP when #VMEXIT loads it (15.6): VMRUN is the last instruction that the host can reach."""

from conformance.descriptors import descriptor
from conformance.vmrun.guests import VMMCALL
from harness.cases import executes, requirement
from harness.lab import places, steps
from harness.lab.guest import guest
from harness.lab.paging import PageTables
from harness.lab.program import SCRATCH_END, Program, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen

GP = 13
VMRUN, UD2 = bytes.fromhex("0f01d8"), bytes.fromhex("0f0b")
LAST = places.DATA + 0x40_0000
"""A page whose last bytes are VMRUN; a processor that goes on finds UD2 in the next."""

BEHIND = 1 << 47
"""The first address that is not canonical."""

TABLES = PageTables(places.OWN_TABLES).identity(SCRATCH_END).map(BEHIND - places.PAGE, LAST)
GDTR, GDT = places.DATA, places.DATA + 0x1000


def goes(code: str, mode: StepMode) -> dict[str, Program]:
    """The host comes to the page's end by this code, with the VMCB's address in RAX."""
    at = places.VMCBS
    page = {LAST + places.PAGE - len(VMRUN): VMRUN + UD2}
    step = steps.code(code, mode=mode, name="VMRUN", vmcb=at)
    return {"": program(*steps.enable_svm(), step, guests={at: guest()}, memory=page | TABLES.regions)}


BEYOND = f"""
    mov eax, {TABLES.root:#x}
    mov cr3, rax
    mov eax, {places.VMCBS:#x}
    mov rdx, {BEHIND - len(VMRUN):#x}
    jmp rdx
"""


@requirement("SVM-15.6-019")
@executes(goes(BEYOND, StepMode.LONG))
def test_rip_that_is_not_canonical(ran: Seen) -> None:
    """A host whose next instruction is at an address that is not canonical gets #GP there after #VMEXIT."""
    seen = ran.vmrun()
    assert seen.after.exitcode == VMMCALL
    assert (seen.step.vector, seen.step.error) == (GP, 0)


LIMITED = int.from_bytes(descriptor(0b1100, 0x9B, LAST >> 12), "little")
OUTSIDE = f"""
    sgdt [{GDTR:#x}]
    movzx ecx, word [{GDTR:#x}]
    inc ecx
    mov ebx, ecx
    mov esi, [{GDTR + 2:#x}]
    mov edi, {GDT:#x}
    rep movsb
    mov dword [edi], {LIMITED & 0xFFFF_FFFF:#x}
    mov dword [edi + 4], {LIMITED >> 32:#x}
    add word [{GDTR:#x}], 8
    mov dword [{GDTR + 2:#x}], {GDT:#x}
    lgdt [{GDTR:#x}]
    mov eax, {places.VMCBS:#x}
    push ebx
    push dword {LAST + places.PAGE - len(VMRUN):#x}
    retf
"""


@requirement("SVM-15.6-032")
@executes(goes(OUTSIDE, StepMode.PROTECTED))
def test_rip_beyond_the_limit_of_cs(ran: Seen) -> None:
    """A host whose next instruction is beyond the limit of its CS gets #GP there after #VMEXIT."""
    seen = ran.vmrun()
    assert seen.after.exitcode == VMMCALL
    assert (seen.step.vector, seen.step.error) == (GP, 0)
