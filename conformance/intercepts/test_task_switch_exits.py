"""The intercept of task switches, and what its exit tells (15.14.1)."""

from collections.abc import Iterable

from conformance.exception_intercepts.guests import BEYOND, NP, TS
from conformance.intercepts.tasks import ABSENT, ABSENT_GATE, ARRIVED, BUSY, GATE, LDT, OTHER, SHORT, VECTOR, Tasks
from conformance.vmrun.guests import VMMCALL, each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.machine.vmcb import Vmcb
from harness.model.exits import CR_WRITE, TASK_SWITCH
from harness.model.registers import Rflags, Vintr

IRET, JUMP, ERROR, RF = 1 << 36, 1 << 38, 1 << 44, 1 << 48
CR3_WRITE, LDTR_WRITE = CR_WRITE + 3, 0x6C
_IRQ: dict[str, int | str] = {"before": "sti\nnop", "vintr": Vintr.V_IRQ | 0xF << 16 | VECTOR << 32}

WAYS: dict[str, tuple[str, dict[str, int | str]]] = {
    "JMP to a TSS": (f"jmp {OTHER}:0", {}),
    "CALL to a TSS": (f"call {OTHER}:0", {}),
    "JMP to a task gate": (f"jmp {GATE}:0", {}),
    "CALL to a task gate": (f"call {GATE}:0", {}),
    "IRET": ("iret", {"rflags": Rflags.NT | 2}),
    "#UD": ("ud2", {}),
    "#GP": (f"mov ecx, {BEYOND}\nmov ds, ecx", {}),
    "INTn": (f"int {VECTOR:#x}", {}),
    "virtual interrupt": ("nop\nnop", _IRQ),
}
"""What leads to the other task."""
JUMPS_AND_CALLS = ("JMP to a TSS", "CALL to a TSS", "JMP to a task gate", "CALL to a task gate")
EVENTS = ("#UD", "#GP", "INTn", "virtual interrupt")

BAD = {
    "JMP to a short TSS": (SHORT, TS),
    "JMP to an absent TSS": (ABSENT, NP),
    "JMP to a gate to an absent TSS": (ABSENT_GATE, NP),
}


def free(name: str) -> str:
    """What a way is called where it is not intercepted."""
    return f"{name}, not intercepted"


def _goes(number: int, name: str, *intercepts: int) -> Visit:
    insn, changes = WAYS[name]
    before = str(changes.get("before", ""))
    fields = {field: int(value) for field, value in changes.items() if field != "before"}
    return Tasks(number).visit(insn, *intercepts, catch=(TS, NP), before=before, **fields)


_NUMBERS = {name: number for number, name in enumerate((*WAYS, *map(free, WAYS)))}
INTERCEPTED = {name: _goes(_NUMBERS[name], name, TASK_SWITCH) for name in WAYS}
FREE = {free(name): _goes(_NUMBERS[free(name)], name) for name in WAYS}
REFUSED = {
    name: Tasks(len(_NUMBERS) + n).visit(f"jmp {tss}:0", TASK_SWITCH) for n, (name, (tss, _)) in enumerate(BAD.items())
}
_WATCHED = {at: size for number in _NUMBERS.values() for at, size in Tasks(number).watched.items()}


PROGRAMS = visits(INTERCEPTED | FREE | REFUSED, watches=_WATCHED)


def exit_by_it(ran: Seen, names: Iterable[str]) -> None:
    """Each exits with 7Dh, and without the intercept comes to the other task."""
    each_ends(ran, dict.fromkeys(names, TASK_SWITCH) | {free(name): VMMCALL for name in names})
    for name in names:
        assert ran.vmrun(free(name)).step.registers["rbx"] == ARRIVED, f"{name}: the guest did not switch tasks"


@requirement("SVM-15.14.1-001")
@executes(PROGRAMS)
def test_jump_or_call_exits(ran: Seen) -> None:
    """A far JMP or CALL to a TSS or a task gate exits with 7Dh."""
    exit_by_it(ran, JUMPS_AND_CALLS)


@requirement("SVM-15.14.1-009")
@executes(PROGRAMS)
def test_iret_to_a_task_exits(ran: Seen) -> None:
    """IRET with EFLAGS.NT=1 exits with 7Dh."""
    exit_by_it(ran, ("IRET",))


@requirement("SVM-15.14.1-010")
@executes(PROGRAMS)
def test_event_through_a_task_gate_exits(ran: Seen) -> None:
    """An exception, an interrupt or an INTn whose gate is a task gate exits with 7Dh."""
    exit_by_it(ran, EVENTS)


@requirement("SVM-15.14.1-002")
@executes(PROGRAMS)
def test_tss_is_checked_first(ran: Seen) -> None:
    """A TSS that is too short or not present raises #TS or #NP, though a good one would exit with 7Dh."""
    each_ends(ran, {name: code for name, (_, code) in BAD.items()} | {"JMP to a TSS": TASK_SWITCH})


@requirement("SVM-15.14.1-011")
@executes(PROGRAMS)
def test_nothing_has_changed_yet(ran: Seen) -> None:
    """At the exit of a JMP the GDT, both TSSs, TR, CR3 and EFLAGS are as they were; without it they change."""
    name = "JMP to a TSS"
    exit_by_it(ran, (name,))
    seen = ran.vmrun(name)
    assert tables_changed(ran, name) == []
    assert tables_changed(ran, free(name)) != []
    assert (seen.after.cr3, seen.after.rflags, seen.after.rip) == (seen.before.cr3, seen.before.rflags, seen.before.rip)


def tables_changed(ran: Seen, name: str) -> list[int]:
    """Which words of the guest's tables, and of its TR, the step changed."""
    tasks = Tasks(_NUMBERS[name])
    return [at for at in ran[name].changes if any(start <= at < start + size for start, size in tasks.watched.items())]


def info(ran: Seen, names: Iterable[str]) -> dict[str, Vmcb]:
    """What the exits tell, which must have come."""
    each_ends(ran, dict.fromkeys(names, TASK_SWITCH))
    return {name: ran.vmrun(name).after for name in names}


def bit(ran: Seen, mask: int, names: Iterable[str]) -> None:
    """The bit of EXITINFO2 is 1 for these and 0 for the others."""
    seen = {name: bool(vmcb.exitinfo2 & mask) for name, vmcb in info(ran, WAYS).items()}
    assert seen == {name: name in names for name in WAYS}


@requirement("SVM-15.14.1-003")
@executes(PROGRAMS)
def test_selector_of_the_task(ran: Seen) -> None:
    """EXITINFO1[15:0] is the selector of the incoming TSS, also where a task gate or the link leads there."""
    expected = {**dict.fromkeys(WAYS, OTHER), "IRET": BUSY}
    assert {name: vmcb.exitinfo1 & 0xFFFF for name, vmcb in info(ran, WAYS).items()} == expected


@requirement("SVM-15.14.1-004")
@executes(PROGRAMS)
def test_error_code_of_the_task(ran: Seen) -> None:
    """EXITINFO2[31:0] is the error code of a #GP."""
    assert info(ran, ("#GP",))["#GP"].exitinfo2 & 0xFFFF_FFFF == BEYOND


@requirement("SVM-15.14.1-005")
@executes(PROGRAMS)
def test_bit_of_iret(ran: Seen) -> None:
    """EXITINFO2 bit 36 is 1 for IRET, and 0 for all else."""
    bit(ran, IRET, ("IRET",))


@requirement("SVM-15.14.1-012")
@executes(PROGRAMS)
def test_bit_of_a_jump(ran: Seen) -> None:
    """EXITINFO2 bit 38 is 1 for JMP, and 0 for all else."""
    bit(ran, JUMP, ("JMP to a TSS", "JMP to a task gate"))


@requirement("SVM-15.14.1-013")
@executes(PROGRAMS)
def test_bit_of_an_error_code(ran: Seen) -> None:
    """EXITINFO2 bit 44 is 1 for a #GP, and 0 for what has no error code."""
    bit(ran, ERROR, ("#GP",))


@requirement("SVM-15.14.1-006")
@executes(PROGRAMS)
def test_bit_of_rf(ran: Seen) -> None:
    """EXITINFO2 bit 48 is 1 for a fault, whose image of EFLAGS has RF=1, and 0 for INTn."""
    seen = info(ran, ("#UD", "INTn"))
    assert {name: bool(vmcb.exitinfo2 & RF) for name, vmcb in seen.items()} == {"#UD": True, "INTn": False}


OTHERS = {
    "intercepted": Tasks(0, LDT).visit(f"jmp {OTHER}:0", CR3_WRITE, LDTR_WRITE),
    "LLDT": Tasks(1).visit(f"mov ecx, {LDT}\nlldt cx", LDTR_WRITE),
    "MOV to CR3": Tasks(2).visit("mov ecx, cr3\nmov cr3, ecx", CR3_WRITE),
}


@requirement("SVM-15.14.1-007")
@executes(visits(OTHERS))
def test_no_other_intercept_is_checked(ran: Seen) -> None:
    """A task switch that loads CR3 and LDTR does not exit by their intercepts, where LLDT and MOV to CR3 do."""
    each_ends(ran, {"intercepted": VMMCALL, "LLDT": LDTR_WRITE, "MOV to CR3": CR3_WRITE})
    assert ran.vmrun("intercepted").step.registers["rbx"] == ARRIVED
