"""VMCBs that software changes after an exit, and runs again: the second VMRUN shows which value it took.

The host changes single fields in memory and leaves the others as #VMEXIT wrote them: clean bits which are set for those
tell the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.intercepts.tried import NOT_RUN
from harness.lab import places, steps
from harness.lab.guest import Guest
from harness.lab.program import Program, Step
from harness.lab.programs import program
from harness.lab.seen import Seen, VmrunSeen
from harness.machine.vmcb import FIELDS
from harness.model import exits

ALL_CLEAN = 0xFFFF_FFFF

Tells = Callable[[VmrunSeen], Any]
"""What of a VMRUN shows the value of a field."""

_NEVER_CACHED = ("rip", "rsp", "rax", "rflags")
_PARTS = {1: "al", 2: "ax", 4: "eax", 8: "rax"}


def exit_code(seen: VmrunSeen) -> str:
    """How the guest ended."""
    if seen.refused:
        return "INVALID"
    return seen.exit if isinstance(seen.exit, str) else exits.name(seen.exit)


def register(name: str) -> Tells:
    """What the guest, which must have come to its VMMCALL, left in a register."""

    def told(seen: VmrunSeen) -> int | str:
        return seen.step.registers[name] if seen.exit == exits.VMMCALL else exit_code(seen)

    return told


@dataclass(frozen=True)
class Change:
    """A guest, the fields that software changes between its two VMRUNs, and what each of these tells.

    :param host: code that the host executes besides, between the two.
    """

    guest: Guest
    fields: Mapping[str, int]
    tells: Tells
    first: Any
    then: Any
    host: str = ""

    @property
    def started(self) -> Guest:
        """The guest, with an exit code that no exit leaves."""
        it = self.guest.copy()
        it.vmcb["exitcode"] = NOT_RUN
        return it

    @property
    def moved(self) -> Guest:
        """The same in another VMCB, changed, in which everything is said to be clean."""
        it = self.started
        it.vmcb.update(**self.fields, vmcb_clean=ALL_CLEAN)
        return it

    def rewrite(self, vmcb: int, clean: int) -> Step:
        """The host's code that changes the fields in the VMCB at this address, and starts the guest anew."""
        anew = {name: self.guest.vmcb[name] for name in _NEVER_CACHED}
        written = anew | {"exitcode": NOT_RUN, "vmcb_clean": clean, **self.fields}
        lines = [_store(vmcb, name.replace("__", "."), value) for name, value in written.items()]
        return steps.code("\n".join((self.host, *lines)), name="software changes the VMCB")


def _store(vmcb: int, name: str, value: int) -> str:
    field = FIELDS[name]
    return f"mov rax, {value:#x}\nmov [{vmcb + field.offset:#x}], {_PARTS[field.size]}"


def again(name: str) -> str:
    """What the second VMRUN is called."""
    return f"{name}, changed"


def rewritten(changes: Mapping[str, Change], clean: int) -> dict[str, Program]:
    """One program: each guest runs with nothing clean, is changed, and runs again with this clean field."""
    taken: list[Step] = []
    guests: dict[int, Guest] = {}
    for number, (name, it) in enumerate(changes.items()):
        at = places.VMCBS + number * places.PAGE
        guests[at] = it.started
        given = it.guest.registers
        taken += (
            steps.vmrun(at, given, name=name), it.rewrite(at, clean), steps.vmrun(at, given, name=again(name)),
        )  # fmt: skip
    return {"": program(*steps.enable_svm(), *taken, guests=guests)}


def moved(changes: Mapping[str, Change]) -> dict[str, Program]:
    """One program: after each guest another VMCB runs, with the changed fields, the same ASID, all clean bits set."""
    taken: list[Step] = []
    guests: dict[int, Guest] = {}
    for number, (name, it) in enumerate(changes.items()):
        at = places.VMCBS + 2 * number * places.PAGE
        guests |= {at: it.started, at + places.PAGE: it.moved}
        given = it.guest.registers
        taken += steps.vmrun(at, given, name=name), steps.vmrun(at + places.PAGE, given, name=again(name))
    return {"": program(*steps.enable_svm(), *taken, guests=guests)}


def takes_effect(ran: Seen, changes: Mapping[str, Change]) -> None:
    """The first VMRUN of each guest tells of the one value, the second of the other."""
    seen = {name: (it.tells(ran.vmrun(name)), it.tells(ran.vmrun(again(name)))) for name, it in changes.items()}
    assert seen == {name: (it.first, it.then) for name, it in changes.items()}
