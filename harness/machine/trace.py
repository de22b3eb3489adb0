"""Watches an image from outside: every sensitive instruction that it executes, with the registers around it.

The instructions are found by their bytes in the image's executable memory and watched with breakpoints of the gdbstub,
so this works on any image. Bytes that only look like an instruction are never reached, and do no harm where breakpoints
change nothing; where they are written into memory such places are left out (:mod:`harness.machine.lookalikes`). What an
image generates or copies at run time is not seen: a limit to remember when a trace is evidence of absence.

The same stops are used to inject faults: a lie about what CPUID or RDMSR returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from harness.boot import Boot, Insn
from harness.errors import ProtocolError
from harness.machine.base import Debugger, Memory, Point, Stop
from harness.machine.further import FurtherProcessors
from harness.machine.guard import Guard
from harness.machine.image import Image
from harness.machine.lookalikes import lookalikes
from harness.machine.registers import Registers
from harness.machine.sabotage import Turns, lie
from harness.machine.vmcb import Vmcb
from harness.msr import Msr
from harness.observation import Access, Event

_KEPT = ("rax", "rbx", "rcx", "rdx", "rip", "rsp", "eflags", "efer")
_PAGE = 0x1000
_TELLING = (Insn.CPUID, Insn.RDMSR, Insn.WRMSR)  # registers behind the others tell nothing


def budget(insn: Insn, vmruns: int | None = None) -> int:
    """After so many executions at one place it is watched no longer: a long run costs no more than a short one.

    Instructions with an operand that matters (which leaf, which MSR, which VMCB) are watched longer than the others;
    VMRUN as long as a boot says (``vmruns``).
    """
    return 64 if insn in _TELLING else vmruns or 12 if insn is Insn.VMRUN else 4


ACCESSES = 8
"""How many accesses to guarded memory are kept."""


class Tracer:
    """Sets the breakpoints, and turns stops into events.

    ``at_end`` is called when the exit port is about to be written, ``look`` at the first VMRUN, ``look_again`` at the
    second.
    """

    def __init__(
        self,
        debugger: Debugger,
        image: Image,
        ram: Memory,
        boot: Boot,
        at_end: Callable[[], None],
        at_first_vmrun: Callable[[], None],
        look: Callable[[], Registers],
        kind: Point = Point.HARDWARE,
    ) -> None:
        self.events: list[Event] = []
        self.accesses: list[Access] = []
        self.cut: list[str] = []
        self.whole: int | None = None
        self.last_vmcb: int | None = None
        self.vmcbs: dict[int, Registers] = {}
        """The host's registers at the first VMRUN of each VMCB, in that order."""
        self.host: Registers | None = None
        self.host_again: Registers | None = None
        self._guard: Guard | None = None
        self._debugger = debugger
        self._image = image
        self._ram = ram
        self._boot = boot
        self._turns = Turns(boot.faults)
        self._at_end = at_end
        self._at_first_vmrun = at_first_vmrun
        self._look = look
        self._kind = kind
        self._entries: set[int] = set()
        self._further = FurtherProcessors(debugger, kind)
        self._count: Counter[int] = Counter()
        self._vmrun_under_way: dict[int, int] = {}
        self._processor = 0
        self._places = {address: insn for insn in Insn for code in insn.opcodes for address in image.find(code)}
        if kind is Point.SOFTWARE:
            for place in lookalikes(image, self._places):
                del self._places[place]

    @property
    def guarded(self) -> tuple[int, int] | None:
        """Address and size of the memory that was guarded, if any."""
        return self._guard.area if self._guard else None

    @property
    def guarded_vmruns(self) -> int:
        """Over how many VMRUNs it was guarded."""
        return self._guard.vmruns if self._guard else 0

    def arm(self) -> None:
        """Set the breakpoints. The machine must be stopped.

        Software breakpoints are written into the image, so they wait until a loader has put it there and enters it.
        """
        if self._kind is Point.SOFTWARE:
            self._entries = set(self._image.entries)
            for address in self._entries:
                self._debugger.insert(Point.HARDWARE, address)
        else:
            self._insert_all()

    def _insert_all(self) -> None:
        for address in self._places:
            self._debugger.insert(self._kind, address)

    def handle(self, stop: Stop) -> None:
        """Record why the machine stopped, and let it run on."""
        self._processor = stop.processor
        if stop.watched is not None:
            self._accessed(stop.watched)
        elif not (self._guard and self._guard.passes(self._debugger.register("rip"))):
            self._reached(self._debugger.registers())
        self._debugger.resume()

    def _reached(self, registers: dict[str, int]) -> None:
        rip = registers["rip"]
        if rip in self._entries:
            self._entered()
        insn = self._places.get(rip)
        if rip in self._vmrun_under_way:
            self._after_vmrun(registers)
        elif insn is Insn.EXIT:
            self._at_end()
            self._unwatch(rip)
        elif insn is not None:
            self._executes(insn, registers)
        elif rip in self._further.sought:
            known = registers["rax"] in self.vmcbs
            self._note(registers["rax"])
            self._step(rip)
            self._further.passed(known=known)

    def _entered(self) -> None:
        for address in self._entries:
            self._debugger.remove(Point.HARDWARE, address)
        self._entries = set()
        self._insert_all()

    def _step(self, rip: int) -> None:
        """Execute the instruction at ``rip``, where one of our breakpoints stands."""
        if self._kind is Point.SOFTWARE:
            self._debugger.remove(self._kind, rip)
        self._debugger.step()
        if self._kind is Point.SOFTWARE:
            self._debugger.insert(self._kind, rip)

    def _executes(self, insn: Insn, registers: dict[str, int]) -> None:
        rip = registers["rip"]
        event = Event(
            insn=insn,
            cpl=registers["cs"] & 3,
            before={name: registers[name] for name in _KEPT if name in registers},
            where=self._image.symbol_at(rip),
            processor=self._processor,
            vmcb=self._vmcb(registers) if insn is Insn.VMRUN else None,
        )
        fault = self._turns.next(insn, registers)
        if fault is not None and fault.skip:
            self._debugger.write_register("rip", rip + len(insn.opcodes[0]))
            event = event.model_copy(update={"tampered": True, "after": self._now()})
        elif insn is Insn.VMRUN and event.vmcb is not None:
            self._enter_guest(rip, len(self.events))
        else:
            self._step(rip)
            after = self._now()
            if fault is not None and after["rip"] == rip + len(insn.opcodes[0]):
                lie(self._debugger, fault)  # it completed: to a fault handler nothing was returned
                event = event.model_copy(update={"tampered": True})
                after = self._now()
            if insn in _TELLING:
                event = event.model_copy(update={"after": after})
        if fault is None or not fault.skip:  # engines of several layers have debuggers that know which one answered
            event = event.model_copy(update={"answered_by": getattr(self._debugger, "answered_by", "")})
        self.events.append(event)
        gives_page = insn is Insn.WRMSR and event.msr == Msr.VM_HSAVE_PA and event.completed and event.written
        if gives_page:
            self._further.given(event.written)
        if self._boot.guard_hsave and gives_page:  # writing 0 takes the page back
            self._start_guard(event.written)
        self._spend(rip, insn)

    def _vmcb(self, registers: dict[str, int]) -> bytes | None:
        try:
            page = self._ram.read(registers["rax"], _PAGE)
        except ValueError:
            return None
        if registers["rax"] % _PAGE:
            return None
        self.last_vmcb = registers["rax"]
        self._note(registers["rax"])
        return page

    def _note(self, vmcb: int) -> None:
        """The machine stands at a VMRUN of that VMCB."""
        if vmcb not in self.vmcbs:
            self.vmcbs[vmcb] = self._look()

    def _enter_guest(self, rip: int, event: int) -> None:
        """Execute VMRUN, and stop at the instruction after it when the guest comes back."""
        behind = rip + len(Insn.VMRUN.opcodes[0])
        if behind not in self._vmrun_under_way and behind not in self._places:
            self._debugger.insert(self._kind, behind)
        self._vmrun_under_way[behind] = event
        if self.host is None:
            self._at_first_vmrun()
            self.host = self._look()
        elif self.host_again is None:
            self.host_again = self._look()
        if self._guard:
            self._guard.lift()
        self._step(rip)

    def _after_vmrun(self, registers: dict[str, int]) -> None:
        rip = registers["rip"]
        number = self._vmrun_under_way.pop(rip)
        if self._guard:
            self._guard.set()
        after = {name: registers[name] for name in _KEPT if name in registers}
        update: dict[str, object] = {"after": after}
        if self.last_vmcb is not None:
            update["vmcb_after"] = page = self._ram.read(self.last_vmcb, _PAGE)
            if self._spoil(self.last_vmcb, Vmcb(page).exitcode):
                update["tampered"] = True
        self.events[number] = self.events[number].model_copy(update=update)
        insn = self._places.get(rip)
        if insn is not None:
            self._executes(insn, registers)
            return
        self._debugger.remove(self._kind, rip)
        vmrun = rip - len(Insn.VMRUN.opcodes[0])
        if self._guard and self._count[vmrun] >= budget(Insn.VMRUN, self._boot.vmruns):
            self._unwatch(vmrun)
            self._guard.takes_over(vmrun)

    def _spoil(self, vmcb: int, exit_code: int) -> bool:
        due = [spoil for spoil in self._boot.spoils if spoil.applies(exit_code)]
        for spoil in due:
            self._ram.write(vmcb + spoil.offset, bytes.fromhex(spoil.data))
        return bool(due)

    def _now(self) -> dict[str, int]:
        registers = self._debugger.registers()
        return {name: registers[name] for name in _KEPT if name in registers}

    def _start_guard(self, page: int) -> None:
        if self._guard:
            self._guard.lift()
        self._guard = Guard(self._debugger, self._kind, page)
        try:
            self._guard.set()
        except ProtocolError:
            self._guard = None  # the engine cannot watch a whole page; `guarded` stays empty and says so

    def _accessed(self, address: int) -> None:
        rip = self._debugger.register("rip")
        self.accesses.append(Access(address=address, rip=rip, where=self._image.symbol_at(rip)))
        if len(self.accesses) == ACCESSES and self._guard:
            self._guard.end()

    def _spend(self, rip: int, insn: Insn) -> None:
        self._count[rip] += 1
        guarded = insn is Insn.VMRUN and self._guard is not None
        most = budget(insn, self._boot.vmruns)
        if self._count[rip] == most and not guarded and not self._still_lies_about(insn):
            self._unwatch(rip)
            if insn is Insn.VMRUN:
                self._further.give_up(rip)
            self.whole = len(self.events) if self.whole is None else self.whole
            self.cut.append(f"{insn} at {self._image.symbol_at(rip)} after {most} times")

    def _still_lies_about(self, insn: Insn) -> bool:
        return any(fault.insn is insn for fault in self._boot.faults)

    def _unwatch(self, rip: int) -> None:
        self._debugger.remove(self._kind, rip)
        del self._places[rip]
