"""What VMLOAD makes of a segment's limit and attributes: which count, and which it takes no notice of."""

from dataclasses import dataclass

from conformance.vmload_vmsave.state import PAGE, filled
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program, Step, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.machine.vmcb import FIELDS

GP = 13
AT = places.DATA + 0x8000
FIRST, SECOND = 0x1122_3344, 0x5566_7788
FLAT = 0xC93
"""Writable data, G and D."""


@dataclass(frozen=True)
class Loading:
    """A segment, and the limit and the attributes that VMLOAD finds for it."""

    segment: str
    attrib: int = FLAT
    limit: int = 0xFFFF_FFFF

    def step(self, name: str, page: int) -> Step:
        """In 32-bit code, load it and read the last word of a page through it, and the first behind that page."""
        reading = f"mov esi, [{self.segment}:0xFFC]\nmov edi, [{self.segment}:0x1000]"
        return code(f"mov eax, {page:#x}\nvmload\n{reading}", mode=StepMode.COMPATIBILITY, name=name)

    @property
    def page(self) -> bytes:
        """What VMLOAD loads."""
        page = filled(0x77)
        page[f"{self.segment}.base"] = AT
        page[f"{self.segment}.limit"], page[f"{self.segment}.attrib"] = self.limit, self.attrib
        return page.data


def loadings(them: dict[str, Loading]) -> dict[str, Program]:
    """All of these, one after the other, in steps of these names."""
    pages = {name: places.DATA + 0x10_0000 + 0x1000 * number for number, name in enumerate(them)}
    words = {AT + 0xFFC: FIRST.to_bytes(4, "little") + SECOND.to_bytes(4, "little")}
    taken = (it.step(name, pages[name]) for name, it in them.items())
    return {"": program(*enable_svm(), *taken, memory=words | {pages[name]: it.page for name, it in them.items()})}


LIMITED = {
    f"{name}, limit {limit:#x}": Loading(name, limit=limit) for name in ("fs", "gs") for limit in (0xFFF, 0x1003)
}


@requirement("SVM-15.5.2-007")
@executes(loadings(LIMITED))
def test_limits_of_fs_and_gs_are_loaded(ran: Seen) -> None:
    """Outside 64-bit mode FS and GS end where the limit says that VMLOAD loaded."""
    for name, it in LIMITED.items():
        step = ran[name]
        ends = (GP, 0) if it.limit == 0xFFF else (None, SECOND)
        assert step.registers["rsi"] == FIRST, name
        assert (step.vector, step.registers["rdi"]) == ends, name


IGNORED = {"none": 0, "AVL": 1 << 8, "L": 1 << 9, "G": 1 << 11, "A": 1 << 0, "S": 1 << 4}
DATA = {f"{name}, {bit}": Loading(name, FLAT ^ flipped) for name in ("fs", "gs") for bit, flipped in IGNORED.items()}


@requirement("SVM-15.5.2-022")
@executes(loadings(DATA))
def test_other_attributes_of_fs_and_gs_are_ignored(ran: Seen) -> None:
    """FS and GS work alike whatever AVL, L, G, A and S are where VMLOAD loads them from."""
    seen = {name: (ran[name].vector, ran[name].registers["rsi"], ran[name].registers["rdi"]) for name in DATA}
    assert seen == dict.fromkeys(DATA, (None, FIRST, SECOND))


ATTRIB_OF_TR, BASE_OF_TR = FIELDS["tr.attrib"].offset, FIELDS["tr.base"].offset
CODE_3, DATA_3 = 0x23, 0x1B
TASK, TASK_SIZE, RSP0 = places.DATA + 0x20_0000, 0x68, 4
STACKS = places.DATA + 0x20_1000
OF_TASK = {"none": 0, "AVL": 1 << 8, "G": 1 << 11, "DPL": 3 << 5}


def leaving(flipped: int, stack: int) -> str:
    """Code that loads TR with attributes flipped and that stack, and goes to CPL 3, whence the step ends through it."""
    return (
        f"mov eax, {PAGE:#x}\nvmsave\nxor word [rax + {ATTRIB_OF_TR}], {flipped:#x}\n"
        f"mov rsi, [rax + {BASE_OF_TR}]\nmov edi, {TASK:#x}\nmov [rax + {BASE_OF_TR}], rdi\n"
        f"mov ecx, {TASK_SIZE}\nrep movsb\nmov qword [{TASK + RSP0:#x}], {stack:#x}\nvmload\n"
        f"mov r8, rsp\npush {DATA_3}\npush r8\npush 2\npush {CODE_3}\nlea rax, [rel .on]\npush rax\niretq\n"
        ".on: mov r9d, cs"
    )


FRAMES = {name: STACKS + 0x100 * (number + 1) for number, name in enumerate(OF_TASK)}
TASKS = program(
    *enable_svm(),
    *(code(leaving(bits, FRAMES[name]), name=name) for name, bits in OF_TASK.items()),
    watches={STACKS: 0x800},
)


@requirement("SVM-15.5.2-022")
@executes({"": TASKS})
def test_other_attributes_of_the_task_are_ignored(ran: Seen) -> None:
    """CPL 3 comes back on the stack of the TR that VMLOAD loaded, whatever AVL, G and DPL it had there."""
    seen = {name: (ran[name].vector, ran[name].registers["r9"]) for name in OF_TASK}
    assert seen == dict.fromkeys(OF_TASK, (None, CODE_3))
    assert {name: ran[name].changes.get(FRAMES[name] - 8) for name in OF_TASK} == dict.fromkeys(OF_TASK, DATA_3)
