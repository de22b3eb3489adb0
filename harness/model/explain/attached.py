"""A machine that is already running, seen through its gdbstub: stops at VMRUNs and reads what they find.

Nothing of the image need be known. The VMRUNs are looked for in the memory that the host's page tables let it execute;
the VMCB is read by physical address. CPUID is asked of the machine itself, by letting it execute one at the stop and
putting everything back. At the end the machine goes on as if nobody had been there.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.boot import Insn
from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, ProtocolError, SvmconfError
from harness.machine.base import Point
from harness.machine.gdb import PATIENCE, Gdb
from harness.machine.vmcb import Vmcb
from harness.model.cpuid import LEAST, Cpuid
from harness.model.explain import hostpages
from harness.model.explain.evidence import Vmrun
from harness.model.instruction import is_virtual
from harness.model.registers import Cr0, Efer
from harness.model.state import Processor, State
from harness.spec.processor import LEAVES

_PAGE = 0x1000
_VMRUN = Insn.VMRUN.opcodes[0]
_CPUID = Insn.CPUID.opcodes[0]
_ADDRESS_SIZE = b"\x67"
_MOST_PLACES = 256
_CHUNK = 64 << 10
_MOST_CHUNKS = 4096
_AT_ONCE = 32  # requests that are sent before the first answer is read
_PATIENCE_SCANNING = 3.0
_PACKET = re.compile(r"PacketSize=([0-9a-f]+)")
_RETRY = 0.05
_SILENCE = 0.3
_PHYSICAL = 1 << 52


def connect(where: str) -> socket.socket:
    """A connection to a stub: the path of a UNIX socket, or ``host:port`` (``:1234`` is this machine).

    Raises :class:`SvmconfError` when nobody listens there.
    """
    host, colon, port = where.rpartition(":")
    try:
        if colon and port.isdigit() and not Path(where).exists():
            made = socket.create_connection((host or "localhost", int(port)), timeout=5)
            made.settimeout(None)
            return made
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(where)
        except OSError:
            made.close()
            raise
        return made
    except OSError as error:
        hint = "start QEMU with -s (then it is :1234), or with -gdb unix:PATH,server=on,wait=off"
        raise SvmconfError(f"no gdbstub at {where}: {error.strerror or error}", hint) from error


def _take_stop(connection: socket.socket) -> None:
    """Attaching stops a machine that ran, and the stub says so without being asked."""
    while select.select((connection,), (), (), _SILENCE)[0]:
        if not connection.recv(1 << 12):
            raise EngineError("the gdbstub closed the connection", "does somebody else use it?")
        connection.sendall(b"+")


def _chunks(registers: dict[str, int], read: hostpages.Read) -> Iterator[tuple[int, int, int]]:
    """What can be executed, as (linear, physical, size) of at most 64 KiB; what is near RIP first."""
    rip = registers["rip"]

    def far(linear: int, size: int) -> int:
        return max(linear - rip, rip - linear - size, 0)

    executable = (page for page in hostpages.pages(registers, read) if page.executable)
    for page in heapq.nsmallest(_MOST_CHUNKS, executable, key=lambda page: far(page.linear, page.size)):
        pieces = ((far(page.linear + at, _CHUNK), at) for at in range(0, page.size, _CHUNK))
        for _, at in heapq.nsmallest(_MOST_CHUNKS, pieces):
            yield page.linear + at, page.physical + at, min(_CHUNK, page.size - at)


class Attached(Gdb):
    """A machine that was found running, and is stopped now. Closed by ``with``: then it goes on."""

    def __init__(self, connection: socket.socket) -> None:
        _take_stop(connection)
        try:
            super().__init__(connection)
            size = _PACKET.search(self._ask("qSupported"))
            self._most = (int(size[1], 16) if size else 0x400) // 2 - 16
            self._places: dict[int, Point] = {}
            self._cpuid: Cpuid | None = None
        except BaseException:
            with contextlib.suppress(OSError):
                connection.sendall(b"$D#44")  # let it go on
            connection.close()
            raise

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(SvmconfError):
            self._forget()
            self._ask("D")
        self.close()

    # Memory

    def linear(self, address: int, size: int) -> bytes:
        """Memory as the processor's page tables have it now; raise :class:`ValueError` where there is none."""
        data = b""
        for start in range(address, address + size, self._most * _AT_ONCE):
            end = min(start + self._most * _AT_ONCE, address + size)
            wanted = [(at, min(self._most, end - at)) for at in range(start, end, self._most)]
            for at, length in wanted:
                self._send(f"m{at:x},{length:x}")
            replies = [self._receive(Deadline.after(PATIENCE)) for _ in wanted]
            for (at, length), reply in zip(wanted, replies, strict=True):
                if len(reply) != 2 * length:
                    raise ValueError(f"no memory at {at:#x}: {reply}")
                data += bytes.fromhex(reply)
        return data

    def physical(self, address: int, size: int) -> bytes:
        """Memory by physical address; raise :class:`ValueError` where there is none."""
        self._expect_ok("Qqemu.PhyMemMode:1", "read physical memory (QEMU's does, since 4.1)")
        try:
            return self.linear(address, size)
        finally:
            self._expect_ok("Qqemu.PhyMemMode:0", "go back to linear addresses")

    def write(self, address: int, data: bytes) -> None:
        """Write linear memory."""
        self._expect_ok(f"M{address:x},{len(data):x}:{data.hex()}", f"write at {address:#x}")

    # VMRUNs

    def vmruns(self, deadline: Deadline, known: Sequence[int] = (), cpuid: Cpuid | None = None) -> Iterator[Vmrun]:
        """Every VMRUN that is about to be executed, beginning with the one that it stands at, until the deadline.

        ``known`` are addresses of VMRUNs; without any they are looked for. ``cpuid`` spares asking the machine.
        """
        self._cpuid = cpuid
        if not self._at_vmrun():
            self._watch(known or self._find(deadline))
            if not self._run_to_vmrun(deadline):
                return
        while True:
            yield self._look()
            if not self._places:
                self._watch(known or self._find(deadline))
            self._step_over()
            if not self._run_to_vmrun(deadline):
                return

    def ask_cpuid(self) -> Cpuid:
        """What CPUID reports, executed where the machine stands (at a VMRUN of the host); asked once."""
        if self._cpuid is None:
            self._cpuid = self._executed_cpuid()
        return self._cpuid

    def _at_vmrun(self) -> bool:
        try:
            code = self.linear(self._linear_rip(), len(_VMRUN) + 1)
        except ValueError:
            return False
        return code.removeprefix(_ADDRESS_SIZE).startswith(_VMRUN)

    def _linear_rip(self) -> int:
        registers = self.registers()
        real = not registers["cr0"] & Cr0.PE
        return registers["rip"] + (registers["cs"] << 4 if real else 0)

    def _find(self, deadline: Deadline) -> list[int]:
        """Where VMRUNs stand in what the host can execute. While there are none the machine is let run a little.

        It may be a guest that stands there: in real mode it is.
        """
        while True:
            found = self._scan(deadline.sooner(_PATIENCE_SCANNING))
            if found or deadline.passed:
                return found
            self.resume()
            time.sleep(min(_RETRY, deadline.left))
            self.interrupt()
            if self.wait(Deadline.after(PATIENCE)).gone:
                raise EngineError("the machine ended before a VMRUN was found", "--image FILE finds them beforehand")

    def _scan(self, deadline: Deadline) -> list[int]:
        """The places found, those near RIP first, until the deadline."""
        registers = self.registers()
        if not registers["cr0"] & Cr0.PE:
            return []
        found: list[int] = []
        seen: dict[int, list[int]] = {}
        for linear, physical, size in _chunks(registers, self.physical):
            if deadline.passed or len(found) > _MOST_PLACES:
                break
            if physical not in seen:
                seen[physical] = self._vmruns_in(physical, size)
            found += [linear + at for at in seen[physical]]
        return found[:_MOST_PLACES]

    def _vmruns_in(self, physical: int, size: int) -> list[int]:
        try:
            data = self.physical(physical, size)
        except ValueError:
            return []
        return [match.start() for match in re.finditer(re.escape(_VMRUN), data)]

    def _watch(self, places: Sequence[int]) -> None:
        for place in places:
            for kind in (Point.HARDWARE, Point.SOFTWARE):
                with contextlib.suppress(ProtocolError):
                    self.insert(kind, place)
                    self._places[place] = kind
                    break

    def _forget(self) -> None:
        for place, kind in self._places.items():
            self.remove(kind, place)
        self._places = {}

    def _step_over(self) -> None:
        rip = self.registers()["rip"]
        kind = self._places.get(rip)
        if kind is Point.SOFTWARE:
            self.remove(kind, rip)
        self.step()
        if kind is Point.SOFTWARE:
            self.insert(kind, rip)

    def _run_to_vmrun(self, deadline: Deadline) -> bool:
        """Whether it got to one in time; else it is stopped wherever it is, or has ended."""
        while self._places and not deadline.passed:
            self.resume()
            try:
                stop = self.wait(deadline)
            except DeadlineExceeded:
                self.interrupt()
                stop = self.wait(Deadline.after(PATIENCE))
                if stop.gone or not self._at_vmrun():
                    return False
            if stop.gone or stop.shut_down:
                return False
            if self._at_vmrun():
                return True
        return False

    def _look(self) -> Vmrun:
        registers = self.registers()
        protected = bool(registers["cr0"] & Cr0.PE)
        efer = registers.get("efer")
        long = efer is not None and bool(efer & Efer.LMA)
        narrow = self.linear(self._linear_rip(), 1) == _ADDRESS_SIZE
        host = Processor(
            cpuid=self._cpuid or LEAST,
            efer=efer,
            cr0=registers["cr0"],
            cr4=registers["cr4"],
            rflags=registers["eflags"],
            cpl=registers["cs"] & 3 if protected else 0,
            address_bits=64 if long and not narrow else 32,
        )
        rax = registers["rax"]
        maps_to = hostpages.translate(rax, registers, self.physical) if is_virtual(rax) else None
        address = maps_to if is_virtual(rax) else rax
        state = State(host, rax, None if address is None else self._vmcb(address), maps_to)
        return Vmrun(state, None, f"{registers['rip']:#x}", registers["cs"])

    def _vmcb(self, address: int) -> Vmcb | None:
        """The page that an address is in; QEMU reads zeros where there is no memory."""
        with contextlib.suppress(ValueError):
            return Vmcb(self.physical(address & -_PAGE, _PAGE)) if address < _PHYSICAL else None
        return None

    def _executed_cpuid(self) -> Cpuid:
        before = self.registers()
        at = self._linear_rip()
        code = self.linear(at, len(_CPUID))
        leaves: dict[int, tuple[int, int, int, int]] = {}
        places = list(self._places)
        self._forget()
        try:
            self.write(at, _CPUID)
            for leaf in LEAVES:
                for name, value in (("rip", before["rip"]), ("rax", leaf), ("rcx", 0)):
                    self.write_register(name, value)
                self.step()
                after = self.registers()
                leaves[leaf] = (after["rax"], after["rbx"], after["rcx"], after["rdx"])
        finally:
            self.write(at, code)
            for name in ("rax", "rbx", "rcx", "rdx", "rip", "eflags"):
                self.write_register(name, before[name])
            self._watch(places)
        return Cpuid.of(leaves)
