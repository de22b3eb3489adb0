"""Bochs' internal debugger behind the words of :class:`harness.machine.base.Debugger`.

Bochs looks for breakpoints behind each instruction, but not when it stops there for another reason: who steps onto one
and lets the machine run would pass it. So that stop is made up here.

**Limits.** It has 16 breakpoints of each kind: linear, physical, virtual (CS and RIP). The 17th to 32nd point asked for
is physical, which is the same where linear addresses are physical ones, as in an image that maps its memory one to one.
From the first VMRUN on it is virtual instead, with the CS of that VMRUN: for a physical one Bochs walks the page tables
before each instruction (``dbg_instruction_epilog()``), since 3.0 a guest's nested ones too, and spends four fifths of
its time there. So code of an image is not watched there that runs with another CS than its VMRUN. Watchpoints are
physical: so is the address in a stop. It can set general registers, outside 64-bit mode the eight oldest, and RIP.
"""

from __future__ import annotations

import os
import signal

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, ProtocolError
from harness.machine.base import Point, Stop
from harness.machine.bochs import replies
from harness.machine.bochs.dialogue import PATIENCE, Dialogue, Halt
from harness.machine.registers import GENERAL, Registers

SLOTS = 16
"""How many of each kind of point Bochs has (BX_DBG_MAX_LIN_BPOINTS and its like)."""

ACTIVE, HALTED, SHUT_DOWN = 0, 1, 2
"""States of the processor (BX_ACTIVITY_STATE_*)."""

_MOST_PANICS = 8
_HEARD_WITHIN, _STEPS_WITHIN = 0.5, 2.0
_SETTABLE = {name: f"e{name[1:]}" for name in GENERAL[:8]}
_ACCESSES = {Point.WRITE: ("w",), Point.READ: ("r",), Point.ACCESS: ("r", "w")}

TRAPPED, INTERRUPTED, DOWN, BROKEN, GONE = "S05", "S02", "S03", "S06", "W00"
"""Reasons of a stop, in the words of GDB's protocol, which :class:`Stop` reads."""


class BochsDebugger:
    """The debugger of the process ``pid``, which stands at its first prompt."""

    def __init__(self, dialogue: Dialogue, pid: int) -> None:
        self.running = False
        self.moves = 0
        """Counts up whenever the machine goes on: what was read before may have changed."""
        self._dialogue = dialogue
        self.pid = pid
        self._interrupted = self._stepping = False
        self._over: Stop | None = None
        self._told = True  # whether the breakpoint at this instruction, if there is one, has been told
        self._made_up: Stop | None = None
        self._panics = 0
        self._registers: Registers | None = None
        self._rip: int | None = None
        self._created = 0
        self._linear: dict[int, int] = {}
        self._others: dict[int, int] = {}
        self._cs: int | None = None
        """CS of the first VMRUN; until then the others are physical, then virtual."""
        self._vmrun_next: int | None = None
        self._watched: dict[int, tuple[Point, int]] = {}

    # Looking

    def registers(self) -> dict[str, int]:
        """Every register that it tells: general, control, selectors, efer."""
        return self.state().values

    def register(self, name: str) -> int:
        """One register."""
        if name == "rip" and self._rip is not None:
            return self._rip
        return self.registers()[name]

    def state(self) -> Registers:
        """The same with the descriptor tables; asked for once a stop."""
        if self._registers is None:
            self._stands()
            general, segments, control = self._dialogue.ask("r", "sreg", "creg")
            values = replies.general(general) | replies.selectors(segments) | replies.control(control)
            if missing := {*GENERAL, "rip", "eflags", "cs", "ss", "cr0", "cr3", "cr4"} - values.keys():
                raise ProtocolError(f"Bochs does not tell {', '.join(sorted(missing))}: {general[:80]!r}")
            values.setdefault("efer", 0)  # a processor without long mode
            self._registers = Registers(values=values, tables=replies.tables(segments), loaded=replies.loaded(segments))
        return self._registers

    def whole_state(self) -> Registers:
        """The same with DR6 and DR7, which are seldom asked for."""
        state = self.state()
        return state.model_copy(update={"values": state.values | replies.debug(self._dialogue.ask("dreg")[0])})

    def activity(self) -> int:
        """What the processor does: :data:`ACTIVE`, :data:`HALTED`, :data:`SHUT_DOWN` or another of Bochs' states."""
        self._stands()
        return replies.parameter(self._dialogue.ask('show "activity_state"')[0])

    def memory(self, address: int, size: int) -> bytes:
        """Physical memory; both in multiples of 4."""
        self._stands()
        return replies.memory(self._dialogue.ask(f"xp /{size // 4}wx {address:#x}")[0], size)

    # Changing

    def put(self, address: int, data: bytes) -> None:
        """Change physical memory."""
        self._stands()
        self._done(*(f"setpmem {address + at:#x} 1 {byte:#x}" for at, byte in enumerate(data)))

    def write_register(self, name: str, value: int) -> None:
        """Set one register; raise :class:`ProtocolError` for one that it cannot set."""
        self._stands()
        if name not in (*GENERAL, "rip"):
            raise ProtocolError(f"Bochs cannot set {name}")
        # Outside 64-bit mode it knows no 64-bit names; in it, a 32-bit one clears the upper half.
        short = _SETTABLE.get(name, name) if value < 1 << 32 else name
        self._done(f"set {short} = {value:#x}")
        self._registers = None
        if name == "rip":
            self._rip, self._told = value, False

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Set a point; setting it again changes nothing. Raises :class:`ProtocolError` when there is no room."""
        self.swap([], [(kind, address, size)])

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Take a point back."""
        self.swap([(kind, address, size)], [])

    def swap(self, gone: list[tuple[Point, int, int]], new: list[tuple[Point, int, int]]) -> None:
        """Take points back and set others, at once."""
        self._stands()
        commands = [command for point in gone for command in self._removing(*point)]
        commands += [command for point in new for command in self._inserting(*point)]
        self._done(*commands)

    def _inserting(self, kind: Point, address: int, size: int) -> list[str]:
        if kind in _ACCESSES:
            if len(self._watched) >= SLOTS:
                raise ProtocolError(f"Bochs has {SLOTS} watchpoints, and all are set")
            if self._watched.get(address, (kind, size)) != (kind, size):
                raise ProtocolError(f"Bochs has a watchpoint at {address:#x} already")
            if address in self._watched:
                return []
            self._watched[address] = (kind, size)
            return [f"watch {access} {address:#x} {size}" for access in _ACCESSES[kind]]
        if address in self._linear or address in self._others:
            return []
        slots = self._linear if len(self._linear) < SLOTS else self._others
        if len(slots) >= SLOTS:
            raise ProtocolError(f"Bochs has {2 * SLOTS} breakpoints, and all are set")
        self._created += 1
        slots[address] = self._created
        if slots is self._linear:
            return [f"lb {address:#x}"]
        return [f"pb {address:#x}" if self._cs is None else f"vb {self._cs:#x}:{address:#x}"]

    def _make_virtual(self, cs: int) -> None:
        """A guest is about to run: from here on no breakpoint may cost a walk of its tables."""
        self._cs = cs
        addresses = list(self._others)
        commands = [f"d {self._others.pop(address)}" for address in addresses]
        commands += [command for address in addresses for command in self._inserting(Point.HARDWARE, address, 1)]
        self._done(*commands)

    def _removing(self, kind: Point, address: int, size: int) -> list[str]:
        if kind in _ACCESSES:
            if self._watched.pop(address, None) is None:
                raise ProtocolError(f"Bochs has no watchpoint at {address:#x}")
            return [f"unwatch {address:#x}"]
        for slots in (self._linear, self._others):
            if address in slots:
                return [f"d {slots.pop(address)}"]
        raise ProtocolError(f"Bochs has no breakpoint at {address:#x}")

    def _done(self, *commands: str) -> None:
        for command, reply in zip(commands, self._dialogue.ask(*commands), strict=True):
            if any(word in reply for word in ("rror", "Unknown", "Too many", "Cannot")):
                raise ProtocolError(f"Bochs refuses `{command}`: {' '.join(reply.split())}")

    # Running

    def resume(self) -> None:
        """Let the machine run. One that is at its end stays there, and :meth:`wait` tells that again."""
        if self._over is None and not self._told and self._rip in (*self._linear, *self._others):
            self._told = True
            self._made_up = Stop(TRAPPED)
            return
        self._go("c")

    def step(self) -> Stop:
        """Execute one instruction. One that waits for an interrupt (HLT) is interrupted after a while."""
        self._go("s")
        try:
            return self.wait(Deadline.after(_STEPS_WITHIN))
        except DeadlineExceeded:
            self.interrupt()
            return self.wait(Deadline.after(PATIENCE))

    def interrupt(self) -> None:
        """Ask a running machine to stop."""
        if self.running:
            self._dialogue.under_way(Deadline.after(_HEARD_WITHIN))
            self._interrupted = True
            os.kill(self.pid, signal.SIGINT)

    def wait(self, deadline: Deadline) -> Stop:
        """The next stop; raise :class:`DeadlineExceeded` when there is none in time."""
        while True:
            stop = self.poll(deadline)
            if stop is not None:
                return stop
            deadline.check("Bochs runs on")

    def poll(self, deadline: Deadline) -> Stop | None:
        """The next stop; ``None`` when the deadline passed, or when the log or the console has something new."""
        if self._over is not None:
            return self._over
        if self._made_up is not None:
            stop, self._made_up = self._made_up, None
            return stop
        dialogue = self._dialogue
        came = dialogue.pump(deadline)
        if dialogue.asked():
            self._answer()
        halt = dialogue.stopped()
        if halt is not None:
            return self._stopped(halt)
        return Stop(GONE) if dialogue.closed and not came else None

    def _answer(self) -> None:
        """A triple fault is none of Bochs' faults. After a panic that is, it shall come back here, to be looked at."""
        self._dialogue.drain()
        log = self._dialogue.log
        if log.triple_fault and not log.panic:
            self._dialogue.reply("cont")
            return
        self._panics += 1
        self._dialogue.reply("debug" if self._panics < _MOST_PANICS else "die")

    def _stopped(self, halt: Halt) -> Stop | None:
        self.running = False
        interrupted, self._interrupted = self._interrupted, False
        at = replies.next_instruction(halt.next)
        self._rip = at[1] if at else None
        self._vmrun_next = at[0] if at and replies.is_vmrun(halt.next) else None
        self._dialogue.drain()
        if self._dialogue.log.panic:
            self._over = Stop(BROKEN)
        elif self._dialogue.log.triple_fault and self.activity() == SHUT_DOWN:
            self._over = Stop(DOWN)
        if self._over is not None:
            return self._over
        self._told = "Breakpoint" in halt.reasons and not self._stepping
        if halt.reasons or self._stepping:
            return Stop(TRAPPED, replies.watched(halt.reasons))
        if interrupted:
            return Stop(INTERRUPTED)
        self.resume()  # a triple fault stops Bochs; this one a hypervisor has intercepted
        return None

    def _go(self, command: str) -> None:
        if self._over is not None:
            return  # it is told again
        self._stands()
        if self._cs is None and self._vmrun_next is not None:
            self._make_virtual(self._vmrun_next)
        self.moves += 1
        self.running = True
        self._stepping = command == "s"
        self._registers = self._rip = None
        self._dialogue.log.triple_fault = False
        self._dialogue.go(command)

    def _stands(self) -> None:
        if self.running:
            raise ProtocolError("Bochs runs: interrupt it first")
