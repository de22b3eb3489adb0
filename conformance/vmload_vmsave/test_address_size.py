"""How much of rAX is the address for VMLOAD and VMSAVE: as much as the effective address size says."""

from conformance.vmload_vmsave.state import OTHER, PAGE
from conformance.vmload_vmsave.test_faults import GP, acts, faults, tries
from harness.cases import executes, requirement
from harness.lab.program import Program, StepMode
from harness.lab.seen import Seen
from harness.lab.steps import code

GARBAGE = 0x5555_5555_0000_0000


def sizes(insn: str, page: int) -> dict[str, Program]:
    """The instruction with garbage in RAX[63:32], in 64-bit mode with and without the prefix, and in 32-bit code."""
    rax = GARBAGE | page
    return tries(
        {
            "64 bits": code(insn, rax=rax),
            "64 bits with 67h": code(f"a32 {insn}", rax=rax),
            "32 bits": code(insn, mode=StepMode.COMPATIBILITY, rax=rax),
        }
    )


def take_the_address_size(ran: Seen) -> None:
    """With 64 bits garbage in RAX[63:32] is #GP(0), with 32 bits it is ignored."""
    faults(ran, "64 bits", GP)
    acts(ran, "64 bits with 67h")
    acts(ran, "32 bits")


@requirement("SVM-15.5.2-014")
@executes(sizes("vmload", PAGE))
def test_vmload_takes_the_address_size(ran: Seen) -> None:
    """VMLOAD takes RAX as an address with 64-bit address size, EAX with 32-bit address size."""
    take_the_address_size(ran)


@requirement("SVM-15.5.2-018")
@executes(sizes("vmsave", OTHER))
def test_vmsave_takes_the_address_size(ran: Seen) -> None:
    """VMSAVE takes RAX as an address with 64-bit address size, EAX with 32-bit address size."""
    take_the_address_size(ran)
