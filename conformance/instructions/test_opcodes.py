"""The opcodes of the SVM instructions, and that they leave RFLAGS alone (volume 3)."""

from conformance.vmrun.guests import VMMCALL, each_ends
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.lab.steps import code, cpuid, enable_svm
from harness.model.registers import Misc1, Misc2
from harness.msr import CPUID_SVM

NRIPS = 1 << 3
INVLPGA = 1 << 26
"""Bit of ``intercept_misc1``."""

CODES = {insn: VMMCALL - 1 + number for number, insn in enumerate(
    (Insn.VMRUN, Insn.VMMCALL, Insn.VMLOAD, Insn.VMSAVE, Insn.STGI, Insn.CLGI, Insn.SKINIT)
)} | {Insn.INVLPGA: 0x7A}  # fmt: skip
"""The exit code of each (appendix C)."""

AFTER = bytes.fromhex("ff c3")
"""INC EBX."""

IN_HOST = (Insn.VMSAVE, Insn.VMLOAD, Insn.STGI, Insn.CLGI, Insn.INVLPGA)


def all_intercepted(insn: Insn) -> Guest:
    """A guest that executes it and is intercepted at each of them."""
    return guest(
        Mode.LONG,
        insn.opcodes[0] + AFTER,
        intercept_misc1=Misc1.SHUTDOWN | INVLPGA,
        intercept_misc2=sum(Misc2) & ~Misc2.RDTSCP,
    )


GUESTS = {str(insn): all_intercepted(insn) for insn in CODES}
FOLLOWED = [code(insn.opcodes[0] + AFTER, rax=places.DATA, name=f"{insn} in the host") for insn in IN_HOST]


@requirement("SVM-V3-005")
@executes({"": vmruns(GUESTS, last=(*FOLLOWED, cpuid(CPUID_SVM)))})
def test_opcodes(ran: Seen) -> None:
    """Each of 0F 01 D8 to DF has an exit of its own, at its address, and the next instruction is three bytes on."""
    each_ends(ran, {str(insn): code for insn, code in CODES.items()})
    exited = [ran.vmrun(name) for name in GUESTS]
    assert all(it.after.rip == it.before.rip for it in exited)
    if ran[len(ran.program.steps) - 1].registers["rdx"] & NRIPS:
        assert [it.after.nrip - it.after.rip for it in exited] == [3] * len(exited)
    ended = {step.name: (ran[step.name].vector, ran[step.name].registers["rbx"]) for step in FOLLOWED}
    assert ended == dict.fromkeys(ended, (None, 1))


FLAGS = {"set": 0x0024_7CD7, "clear": 0x0000_0002}
"""CF PF AF ZF SF DF OF IOPL NT AC ID."""

WITH_FLAGS = {
    f"{insn} with flags {name}": code(insn.opcodes[0], rax=places.DATA, rflags=flags)
    for insn in IN_HOST
    for name, flags in FLAGS.items()
}


@requirement("SVM-V3-008")
@executes({"": Program(steps=(*enable_svm(), *(s.model_copy(update={"name": n}) for n, s in WITH_FLAGS.items())))})
def test_flags_are_left_alone(ran: Seen) -> None:
    """VMSAVE, VMLOAD, STGI, CLGI and INVLPGA change no flag, neither one that is set nor one that is clear."""
    seen = {name: (ran[name].vector, hex(ran[name].rflags)) for name in WITH_FLAGS}
    assert seen == {name: (None, hex(step.rflags or 0)) for name, step in WITH_FLAGS.items()}


PREFIXES = {"F2h": 0xF2, "F3h": 0xF3, "NOP": 0x90}
PREFIXED = {name: guest(Mode.LONG, bytes((first,)) + Insn.VMMCALL.opcodes[0]) for name, first in PREFIXES.items()}


@requirement("SVM-V3-017")
@executes({"": vmruns(PREFIXED)})
def test_vmgexit_is_vmmcall(ran: Seen) -> None:
    """VMMCALL with an F2h or F3h prefix exits as VMMCALL does, at the prefix; a NOP before it is no part of it."""
    each_ends(ran, dict.fromkeys(PREFIXED, VMMCALL))
    assert [it.after.rip - it.before.rip for it in ran.vmruns()] == [0, 0, 1]
