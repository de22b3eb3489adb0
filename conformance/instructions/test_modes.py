"""In which modes SVM instructions exist: in real mode and virtual-8086 mode they do not, but for VMMCALL (volume 3)."""

from conformance.vmrun.guests import CATCH, VMMCALL, each_ends, runs
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.program import Program, Step, StepMode
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.model import exits
from harness.model.registers import Misc2

UD = 6
WITHOUT = (StepMode.REAL, StepMode.V86)


def tried(insn: Insn, mode: StepMode, cpl: int) -> Step:
    """The instruction with an address in rAX that any of them takes, and ASID 0 in ECX."""
    return code(insn.opcodes[0], mode=mode, cpl=cpl, rax=places.DATA, name=f"{mode} at CPL {cpl}")


def in_modes(insn: Insn) -> dict[str, Program]:
    """The instruction in the modes that lack it, then in 64-bit mode."""
    absent = (tried(insn, mode, mode.cpls[0]) for mode in WITHOUT)
    return {"": Program(steps=(*enable_svm(), *absent, tried(insn, StepMode.LONG, 0)))}


def absent_there(ran: Seen) -> None:
    """#UD at the instruction in both modes, and none in 64-bit mode."""
    seen = {step.name: (ran[n].vector, ran[n].rip) for n, step in enumerate(ran.program.steps) if step.mode in WITHOUT}
    assert seen == dict.fromkeys(seen, (UD, 0))
    assert ran[len(ran.program.steps) - 1].vector is None


@requirement("SVM-V3-011")
@executes(in_modes(Insn.CLGI))
def test_clgi_outside_protected_mode_is_ud(ran: Seen) -> None:
    """CLGI in real mode and in virtual-8086 mode raises #UD."""
    absent_there(ran)


@requirement("SVM-V3-012")
@executes(in_modes(Insn.STGI))
def test_stgi_outside_protected_mode_is_ud(ran: Seen) -> None:
    """STGI in real mode and in virtual-8086 mode raises #UD."""
    absent_there(ran)


@requirement("SVM-V3-013")
@executes(in_modes(Insn.INVLPGA))
def test_invlpga_outside_protected_mode_is_ud(ran: Seen) -> None:
    """INVLPGA in real mode and in virtual-8086 mode raises #UD."""
    absent_there(ran)


# In 64-bit mode it would act, which no engine here survives: there STGI shows that EFER.SVME is set.
@requirement("SVM-V3-014")
@executes({"": Program(steps=(*in_modes(Insn.SKINIT)[""].steps[:-1], tried(Insn.STGI, StepMode.LONG, 0)))})
def test_skinit_outside_protected_mode_is_ud(ran: Seen) -> None:
    """SKINIT in real mode and in virtual-8086 mode raises #UD."""
    absent_there(ran)


EXISTS = {f"VMMCALL in {mode.value}": guest(mode, intercept_exceptions=CATCH) for mode in (Mode.REAL, Mode.V86)}
LACKS = {
    "VMLOAD in real mode": guest(
        Mode.REAL,
        Insn.VMLOAD.opcodes[0],
        intercept_misc2=Misc2.VMRUN | Misc2.VMMCALL | Misc2.VMLOAD,
        intercept_exceptions=CATCH,
    )
}


@requirement("SVM-V3-016")
@executes(runs(EXISTS | LACKS))
def test_vmmcall_exists_outside_protected_mode(ran: Seen) -> None:
    """VMMCALL is intercepted in real mode and virtual-8086 mode, where another SVM instruction raises #UD."""
    each_ends(ran, dict.fromkeys(EXISTS, VMMCALL) | dict.fromkeys(LACKS, exits.EXCEPTION + UD))
