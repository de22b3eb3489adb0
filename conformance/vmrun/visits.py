"""Host code around a VMRUN, in one step: what it reads before and after it is in the registers at the step's end.

VMRUN and #VMEXIT leave the general-purpose registers but RAX and RSP to the guest, so a guest reports in its own, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conformance.vmrun.guests import VMMCALL
from harness.lab import places, steps
from harness.lab.guest import Guest
from harness.lab.program import Program, Step, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen

A_WHILE = "mov ecx, 4000000\n.on: loop .on\n"
"""Time in a guest, for a hypervisor below that gives the processor to another meanwhile, or looks again."""


@dataclass(frozen=True)
class Visit:
    """A guest, and what the host executes before and after its VMRUN; ``last`` is what comes right before it."""

    guest: Guest
    before: str = ""
    after: str = ""
    mode: StepMode = StepMode.LONG
    last: str = ""

    def step(self, name: str, vmcb: int) -> Step:
        """The step that executes it."""
        source = f"{self.before}\nmov eax, {vmcb:#x}\n{self.last}\nvmrun\n{self.after}"
        return steps.code(source, mode=self.mode, name=name, vmcb=vmcb, **self.guest.registers)


def visits(
    them: Mapping[str, Visit], *, first: Iterable[Step] = (), memory: Mapping[int, bytes] | None = None,
    watches: Mapping[int, int] | None = None,
) -> dict[str, Program]:  # fmt: skip
    """One program that enables SVM and makes each of these visits, in a step of its name.

    :param first: steps before them, :param memory: what they find there, :param watches: memory that is watched.
    """
    at = {name: places.VMCBS + number * places.PAGE for number, name in enumerate(them)}
    made = (it.step(name, at[name]) for name, it in them.items())
    guests = {at[name]: it.guest for name, it in them.items()}
    return {"": program(*steps.enable_svm(), *first, *made, guests=guests, memory=memory, watches=watches)}


def registers(ran: Seen, name: str) -> dict[str, int]:
    """The registers after a visit, whose guest must have come to its VMMCALL and whose host code to its end."""
    it = ran.vmrun(name)
    assert it.exit == VMMCALL, f"{name}: VMRUN came to {it.exit if isinstance(it.exit, str) else hex(it.exit)}"
    return it.step.registers
