"""Intercepts of SVM's own instructions, in a guest whose EFER.SVME is 1 (15.9)."""

from conformance.intercepts.tried import GP, HERE, UD, Tries, tried
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model.registers import Misc2

INSNS = {"VMRUN": 0x80, "VMLOAD": 0x82, "VMSAVE": 0x83, "STGI": 0x84, "CLGI": 0x85, "SKINIT": 0x86, "INVLPGA": 0x7A}
"""Each with its exit code."""

ADDRESSED = ("VMRUN", "VMLOAD", "VMSAVE")
"""They take the physical address of a VMCB in rAX."""

NEVER_FREE = ("VMRUN", "SKINIT")
"""Without its intercept VMRUN makes a VMCB illegal (15.5.1), and SKINIT would leave nothing to judge."""

VMMCALL = 0x81
BEYOND = 1 << 52
"""An address that is beyond physical memory on every processor."""


def code(insn: str) -> str:
    """Its bytes: NASM knows some of them in 64-bit mode alone."""
    return f"db {', '.join(map(str, Insn[insn].opcodes[0]))}"


OWN = Tries(
    {insn: tried(code(insn), number, rax=HERE, endless=insn in NEVER_FREE) for insn, number in INSNS.items()}
    | {f"{insn} at CPL 3": tried(code(insn), number, rax=HERE, cpl=3, endless=True) for insn, number in INSNS.items()}
    | {
        f"{insn} in real mode": tried(code(insn), number, rax=HERE, mode=Mode.REAL, endless=True)
        for insn, number in INSNS.items()
    }
    | {f"{insn} at {HERE + 8:#x}": tried(code(insn), INSNS[insn], rax=HERE + 8, endless=True) for insn in ADDRESSED}
    | {f"{insn} beyond memory": tried(code(insn), INSNS[insn], rax=BEYOND, endless=True) for insn in ADDRESSED}
    | {
        "VMMCALL": tried("vmmcall"),
        "VMMCALL at CPL 3": tried("vmmcall", cpl=3),
    }
)


def mode_and_cpl_come_first(ran: Seen, insn: str) -> None:
    """#UD in real mode and #GP at CPL 3 come before the intercept."""
    OWN.come_to(ran, {f"{insn} in real mode": UD, f"{insn} at CPL 3": GP})


@requirement("SVM-15.9-038")
@executes(OWN.programs)
def test_vmrun(ran: Seen) -> None:
    """VMRUN exits with 80h."""
    OWN.exit(ran, INSNS["VMRUN"], "VMRUN")


@requirement("SVM-15.9-104")
@executes(OWN.programs)
def test_mode_and_cpl_of_vmrun_come_first(ran: Seen) -> None:
    """VMRUN raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "VMRUN")


@requirement("SVM-15.9-039")
@executes(OWN.programs)
def test_vmmcall(ran: Seen) -> None:
    """VMMCALL exits with 81h, at CPL 3 as well."""
    OWN.exit(ran, VMMCALL, "VMMCALL", "VMMCALL at CPL 3")


# Alone, for a hypervisor below may keep it busy.
FREE = Tries({"VMMCALL": tried("vmmcall", intercept_misc2=Misc2.VMRUN)})


@requirement("SVM-15.9-061")
@executes(FREE.programs)
def test_vmmcall_without_intercept(ran: Seen) -> None:
    """Without its intercept VMMCALL raises #UD."""
    FREE.come_to(ran, {"VMMCALL": UD})


@requirement("SVM-15.9-040")
@executes(OWN.programs)
def test_vmload(ran: Seen) -> None:
    """VMLOAD exits with 82h."""
    OWN.exit(ran, INSNS["VMLOAD"], "VMLOAD")


@requirement("SVM-15.9-105")
@executes(OWN.programs)
def test_mode_and_cpl_of_vmload_come_first(ran: Seen) -> None:
    """VMLOAD raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "VMLOAD")


@requirement("SVM-15.9-041")
@executes(OWN.programs)
def test_vmsave(ran: Seen) -> None:
    """VMSAVE exits with 83h."""
    OWN.exit(ran, INSNS["VMSAVE"], "VMSAVE")


@requirement("SVM-15.9-106")
@executes(OWN.programs)
def test_mode_and_cpl_of_vmsave_come_first(ran: Seen) -> None:
    """VMSAVE raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "VMSAVE")


@requirement("SVM-15.9-042")
@executes(OWN.programs)
def test_stgi(ran: Seen) -> None:
    """STGI exits with 84h."""
    OWN.exit(ran, INSNS["STGI"], "STGI")


@requirement("SVM-15.9-107")
@executes(OWN.programs)
def test_mode_and_cpl_of_stgi_come_first(ran: Seen) -> None:
    """STGI raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "STGI")


@requirement("SVM-15.9-043")
@executes(OWN.programs)
def test_clgi(ran: Seen) -> None:
    """CLGI exits with 85h."""
    OWN.exit(ran, INSNS["CLGI"], "CLGI")


@requirement("SVM-15.9-108")
@executes(OWN.programs)
def test_mode_and_cpl_of_clgi_come_first(ran: Seen) -> None:
    """CLGI raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "CLGI")


@requirement("SVM-15.9-044")
@executes(OWN.programs)
def test_skinit(ran: Seen) -> None:
    """SKINIT exits with 86h."""
    OWN.exit(ran, INSNS["SKINIT"], "SKINIT")


@requirement("SVM-15.9-109")
@executes(OWN.programs)
def test_mode_and_cpl_of_skinit_come_first(ran: Seen) -> None:
    """SKINIT raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "SKINIT")


@requirement("SVM-15.9-037")
@executes(OWN.programs)
def test_invlpga(ran: Seen) -> None:
    """INVLPGA exits with 7Ah."""
    OWN.exit(ran, INSNS["INVLPGA"], "INVLPGA")


@requirement("SVM-15.9-103")
@executes(OWN.programs)
def test_exceptions_of_invlpga_come_first(ran: Seen) -> None:
    """INVLPGA raises #UD in real mode and #GP at CPL 3 though it is intercepted."""
    mode_and_cpl_come_first(ran, "INVLPGA")


@requirement("SVM-15.9-063")
@executes(OWN.programs)
def test_unaligned_address_comes_first(ran: Seen) -> None:
    """Without Fn8000_000A_EDX[28] an address that is not that of a page raises #GP before the intercept."""
    OWN.come_to(ran, {f"{insn} at {HERE + 8:#x}": GP for insn in ADDRESSED} | {"VMRUN": INSNS["VMRUN"]})


@requirement("SVM-15.9-124")
@executes(OWN.programs)
def test_address_beyond_memory_comes_first(ran: Seen) -> None:
    """Without Fn8000_000A_EDX[28] an address beyond physical memory raises #GP before the intercept."""
    OWN.come_to(ran, {f"{insn} beyond memory": GP for insn in ADDRESSED} | {"VMRUN": INSNS["VMRUN"]})


@requirement("SVM-15.9-062")
@executes(OWN.programs)
def test_intercepts_come_before_the_address(ran: Seen) -> None:
    """With Fn8000_000A_EDX[28] the intercept comes before the check of the address."""
    OWN.come_to(
        ran, {f"{insn} {how}": INSNS[insn] for insn in ADDRESSED for how in (f"at {HERE + 8:#x}", "beyond memory")}
    )


@requirement("SVM-15.9-061")
@executes(OWN.programs)
def test_svm_instruction_without_intercept(ran: Seen) -> None:
    """Without its intercept none of these instructions exits."""
    OWN.need_their_intercepts(ran)
