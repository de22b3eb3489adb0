"""A guest goes on after a nested page fault whose cause is gone (15.25.6)."""

from conformance.nested_paging.spaces import Mapped, Space
from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.paging import FLAGS
from harness.lab.program import Program
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, vmrun
from harness.model.exits import NPF

VMCB, VALUE, STACK = places.VMCBS, 0x1234, places.STACK - 0x100

SPACE = Space({"absent": Mapped(nested=0, content=VALUE.to_bytes(8, "little"))})
ENTRY, MENDED = SPACE.nested.address_of_entry(SPACE.physical("absent")), SPACE.host("absent") | FLAGS
PUSHES = guest(Mode.LONG, "push qword [rcx]\nadd [rcx], rdx\nvmmcall", rsp=STACK, **SPACE.changes)
REGISTERS = {"rcx": SPACE.linear("absent"), "rdx": 1}


def mended() -> dict[str, Program]:
    """The guest faults, the host maps the page, the guest goes on."""
    steps = (
        vmrun(VMCB, REGISTERS, name="faults"),
        code(f"mov rax, {MENDED:#x}\nmov [{ENTRY:#x}], rax", name="mended"),
        vmrun(VMCB, REGISTERS, name="goes on"),
    )
    watches = {STACK - 16: 16, SPACE.host("absent"): 8}
    return {"": program(*enable_svm(), *steps, guests={VMCB: PUSHES.having(SPACE.memory)}, watches=watches)}


@requirement("SVM-15.25.6-012")
@executes(mended(), cpus=Cpus.WITH_NPT)
def test_guest_goes_on_when_the_page_is_there(ran: Seen) -> None:
    """A nested page fault changes no register and no memory; mapped, the page is read and written once."""
    each_ends(ran, {"faults": NPF, "goes on": VMMCALL})
    first = ran.vmrun("faults")
    left = {name: (first.before[name], first.after[name]) for name in ("rip", "rsp", "rflags", "cr2")}
    assert all(before == after for before, after in left.values()), left
    assert {name: first.step.registers[name] for name in REGISTERS} == REGISTERS
    assert not {STACK - 16, STACK - 8, SPACE.host("absent")} & set(first.step.changes)
    assert ran.vmrun("goes on").after.rsp == STACK - 8
    end = len(ran.steps) - 1
    pushed, added = (int.from_bytes(ran.memory(at, 8, end), "little") for at in (STACK - 8, SPACE.host("absent")))
    assert (pushed, added) == (VALUE, VALUE + 1)
