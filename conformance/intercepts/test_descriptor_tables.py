"""Intercepts of the registers that hold descriptor tables and the task (15.9)."""

from conformance.intercepts.tried import GP, HERE, NOWHERE, PF, UD, Tries, tried, without
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen

INSNS = {"SIDT": 0x66, "SGDT": 0x67, "SLDT": 0x68, "STR": 0x69, "LIDT": 0x6A, "LGDT": 0x6B, "LLDT": 0x6C, "LTR": 0x6D}
"""Each with its exit code."""

PSEUDO = ("SIDT", "SGDT", "LIDT", "LGDT")
"""They have ten bytes of memory as an operand; the others have a register or two bytes."""

LOADS = ("LIDT", "LGDT", "LLDT", "LTR")
"""They are for CPL 0 alone."""

TABLES = Tries(
    {insn: tried(f"{insn} [{HERE:#x}]", code) for insn, code in INSNS.items()}
    | {f"{insn} CX": tried(f"{insn} cx", code) for insn, code in INSNS.items() if insn not in PSEUDO}
    | {f"{insn} of nowhere": tried(f"{insn} [{NOWHERE:#x}]", code) for insn, code in INSNS.items()}
    | {f"LOCK {insn}": tried(f"db 0xF0\n{insn} [{HERE:#x}]", code) for insn, code in INSNS.items()}
    | {f"{insn} at CPL 3": tried(f"{insn} [{HERE:#x}]", code, cpl=3) for insn, code in INSNS.items()}
    | {
        f"{insn} in real mode": tried(f"{insn} cx", code, mode=Mode.REAL)
        for insn, code in INSNS.items()
        if insn not in PSEUDO
    }
)


def exits(ran: Seen, insn: str) -> None:
    """The instruction exits with its code, whatever operand it has."""
    TABLES.exit(ran, INSNS[insn], insn, *([] if insn in PSEUDO else [f"{insn} CX"]))


def is_in_order(ran: Seen, insn: str) -> None:
    """The intercept comes after #UD and #GP that need no memory access, and before #PF."""
    faults = {f"LOCK {insn}": UD, f"{insn} at CPL 3": GP if insn in LOADS else INSNS[insn]}
    if insn not in PSEUDO:
        faults |= {f"{insn} in real mode": UD}
    TABLES.come_to(ran, faults | {f"{insn} of nowhere": INSNS[insn], without(f"{insn} of nowhere"): PF})


@requirement("SVM-15.9-016")
@executes(TABLES.programs)
def test_sidt(ran: Seen) -> None:
    """SIDT exits with 66h."""
    exits(ran, "SIDT")


@requirement("SVM-15.9-086")
@executes(TABLES.programs)
def test_order_of_sidt(ran: Seen) -> None:
    """Intercepted, SIDT raises #UD with LOCK, but no #PF."""
    is_in_order(ran, "SIDT")


@requirement("SVM-15.9-017")
@executes(TABLES.programs)
def test_sgdt(ran: Seen) -> None:
    """SGDT exits with 67h."""
    exits(ran, "SGDT")


@requirement("SVM-15.9-087")
@executes(TABLES.programs)
def test_order_of_sgdt(ran: Seen) -> None:
    """Intercepted, SGDT raises #UD with LOCK, but no #PF."""
    is_in_order(ran, "SGDT")


@requirement("SVM-15.9-018")
@executes(TABLES.programs)
def test_sldt(ran: Seen) -> None:
    """SLDT exits with 68h."""
    exits(ran, "SLDT")


@requirement("SVM-15.9-088")
@executes(TABLES.programs)
def test_order_of_sldt(ran: Seen) -> None:
    """Intercepted, SLDT raises #UD with LOCK and in real mode, but no #PF."""
    is_in_order(ran, "SLDT")


@requirement("SVM-15.9-019")
@executes(TABLES.programs)
def test_str(ran: Seen) -> None:
    """STR exits with 69h."""
    exits(ran, "STR")


@requirement("SVM-15.9-089")
@executes(TABLES.programs)
def test_order_of_str(ran: Seen) -> None:
    """Intercepted, STR raises #UD with LOCK and in real mode, but no #PF."""
    is_in_order(ran, "STR")


@requirement("SVM-15.9-020")
@executes(TABLES.programs)
def test_lidt(ran: Seen) -> None:
    """LIDT exits with 6Ah."""
    exits(ran, "LIDT")


@requirement("SVM-15.9-090")
@executes(TABLES.programs)
def test_order_of_lidt(ran: Seen) -> None:
    """Intercepted, LIDT raises #UD with LOCK and #GP at CPL 3, but no #PF."""
    is_in_order(ran, "LIDT")


@requirement("SVM-15.9-021")
@executes(TABLES.programs)
def test_lgdt(ran: Seen) -> None:
    """LGDT exits with 6Bh."""
    exits(ran, "LGDT")


@requirement("SVM-15.9-091")
@executes(TABLES.programs)
def test_order_of_lgdt(ran: Seen) -> None:
    """Intercepted, LGDT raises #UD with LOCK and #GP at CPL 3, but no #PF."""
    is_in_order(ran, "LGDT")


@requirement("SVM-15.9-022")
@executes(TABLES.programs)
def test_lldt(ran: Seen) -> None:
    """LLDT exits with 6Ch."""
    exits(ran, "LLDT")


@requirement("SVM-15.9-092")
@executes(TABLES.programs)
def test_order_of_lldt(ran: Seen) -> None:
    """Intercepted, LLDT raises #UD with LOCK and in real mode, #GP at CPL 3, but no #PF."""
    is_in_order(ran, "LLDT")


@requirement("SVM-15.9-023")
@executes(TABLES.programs)
def test_ltr(ran: Seen) -> None:
    """LTR exits with 6Dh."""
    exits(ran, "LTR")


@requirement("SVM-15.9-093")
@executes(TABLES.programs)
def test_order_of_ltr(ran: Seen) -> None:
    """Intercepted, LTR raises #UD with LOCK and in real mode, #GP at CPL 3, but no #PF."""
    is_in_order(ran, "LTR")


@requirement("SVM-15.9-061")
@executes(TABLES.programs)
def test_without_intercept(ran: Seen) -> None:
    """Without their intercepts instructions do not exit."""
    TABLES.need_their_intercepts(ran)
