"""What is said between us and Bochs, without Bochs: its words are as 2.6 and 3.1 said them."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, ImageError, ProtocolError
from harness.machine.base import Point
from harness.machine.bochs import replies
from harness.machine.bochs.config import Config
from harness.machine.bochs.debugger import BochsDebugger
from harness.machine.bochs.dialogue import Dialogue
from harness.machine.bochs.log import Log
from harness.machine.bochs.memory import BochsMemory
from harness.machine.bochs.processors import Processor, names
from harness.machine.bochs.ram_image import split
from harness.machine.bochs.rom import Preset, ask_at, rom, video_rom
from harness.machine.handoff import Handoff
from harness.machine.registers import GENERAL

NEXT = "(0) [0x0000ffff0040] 0008:00000000ffff0040 (unk. ctxt): mov al, 0x0a              ; b00a\n"
AT_BREAKPOINT = f"(0) Breakpoint 1, 0x00000000ffff0040 in ?? ()\nNext at t=24\n{NEXT}"
INTERRUPTED = f"Next at t=900\n{NEXT}"
REGISTERS = "".join(f"{name:3}: 00000000_{n:08x}\n" for n, name in enumerate(GENERAL[:8])) + "".join(
    f"r{n:<2}: 00000001_00000000\n" for n in range(8, 16)
)
REGISTERS += "rip: 00000000_ffff0040\n{flags} 0x00000246: id vip vif ac vm rf nt IOPL=0 of df IF tf sf ZF af PF cf\n"
CONTROL = """\
CR0=0xe0000011: PG CD NW ac wp ne ET ts em mp PE
CR2=page fault laddr=0x00000000deadb000
CR3=0x000000105000
    PCD=page-level cache disable=0
    PWT=page-level write-through=0
CR4=0x00000020: cet pke smap smep osxsave pcid fsgsbase smx vmx osxmmexcpt umip osfxsr pce pge mce PAE pse de tsd pvi
CR8: 0x0
EFER=0x00000d00: ffxsr NXE LMA LME sce
"""
SEGMENTS = """\
cs:0x0008, dh=0x00af9b00, dl=0x0000ffff, valid=1
\tCode segment, base=0x00000000, limit=0xffffffff, Execute/Read, Non-Conforming, Accessed, 64-bit
ss:0x0010, dh=0x00cf9300, dl=0x0000ffff, valid=7
ldtr:0x0000, dh=0x00008200, dl=0x0000ffff, valid=1
tr:0x0018, dh=0x00008b12, dl=0x34560067, valid=1
gdtr:base=0x00000000ffff0058, limit=0x17
idtr:base=0x0000000000106000, limit=0xfff
"""


class Peer:
    """Plays Bochs: gives the answers that it was told to, each when its command comes."""

    def __init__(self, folder: Path) -> None:
        self._commands, to = os.pipe()
        answers, self.says = os.pipe()
        log_pipe, self.logs = os.pipe()
        self.log = Log(folder / "engine.log")
        self.dialogue = Dialogue(to, answers, log_pipe, self.log)
        self.heard: list[str] = []
        self._answers: Queue[tuple[str, str] | None] = Queue()
        self._prompt = 1
        self._thread = Thread(target=self._listen)
        self._thread.start()
        self.say("Bochs x86 Emulator\nNext at t=0\n<bochs:1> ")
        self.dialogue.first_prompt(Deadline.after(1))

    def say(self, text: str) -> None:
        os.write(self.says, text.encode("latin-1"))

    def answer(self, command: str, text: str = "") -> None:
        """What to say to the next command: its echo, this, and a prompt."""
        self._answers.put((command, text))

    def run(self) -> None:
        """Let the next command be one that has no answer yet: the machine runs."""
        self._answers.put(None)

    def _listen(self) -> None:
        with os.fdopen(self._commands) as commands:
            for line in commands:
                self.heard.append(line.rstrip("\n"))
                with contextlib.suppress(Empty):
                    if answer := self._answers.get_nowait():
                        self._prompt += 1
                        self.say("{}\n{}<bochs:{}> ".format(*answer, self._prompt))

    def close(self) -> None:
        self.dialogue.close()
        self._thread.join()
        self.log.close()
        for descriptor in (self.says, self.logs):
            os.close(descriptor)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path)
    yield peer
    peer.close()


@pytest.fixture
def debugger(peer: Peer) -> BochsDebugger:
    return BochsDebugger(peer.dialogue, os.getpid())


# What it answers


@pytest.mark.parametrize("flags", ["eflags", "eflags:"])  # without a colon up to 2.7
def test_registers_of_every_kind(peer: Peer, debugger: BochsDebugger, flags: str) -> None:
    peer.answer("r", "CPU0:\n" + REGISTERS.format(flags=flags))
    peer.answer("sreg", SEGMENTS)
    peer.answer("creg", CONTROL)
    seen = debugger.state()
    assert (seen["rax"], seen["rsp"], seen["r8"], seen["r15"], seen.rip) == (0, 7, 1 << 32, 1 << 32, 0xFFFF0040)
    assert (seen["eflags"], seen["cs"], seen["ss"]) == (0x246, 8, 16)
    assert (seen["cr0"], seen["cr2"], seen["cr3"], seen["cr4"]) == (0xE0000011, 0xDEADB000, 0x105000, 0x20)
    assert seen["efer"] == 0xD00
    assert seen.tables["gdt"] == (0xFFFF0058, 0x17) and seen.tables["idt"] == (0x106000, 0xFFF)
    assert seen.tables["tr"] == (0x123456, 0x67)
    assert debugger.state() is seen, "asked again, though nothing has moved"


def test_missing_registers_are_told(peer: Peer, debugger: BochsDebugger) -> None:
    for command in ("r", "sreg", "creg"):
        peer.answer(command, ":19: syntax error at 'r'\n")
    with pytest.raises(ProtocolError, match="does not tell"):
        debugger.state()


def test_memory_in_words() -> None:
    reply = "[bochs]:\n0x00000000fffffff0 <bogus+       0>:\t0x000000ea\t0x000000f0\t0x00000000\t0x00000000\n"
    assert replies.memory(reply, 16) == bytes.fromhex("ea000000f0") + bytes(11)
    with pytest.raises(ProtocolError, match="16 bytes of memory, not 32"):
        replies.memory(reply, 32)


def test_memory_is_read_once_until_the_machine_moves(peer: Peer, debugger: BochsDebugger) -> None:
    ram = BochsMemory(1 << 20, debugger)
    dump = "[bochs]:\n" + "\t0x04030201" * 64
    peer.answer("xp /64wx 0x1000", dump)
    assert ram.read(0x1002, 4) == b"\3\4\1\2"
    assert ram.read(0x1000, 256) == b"\1\2\3\4" * 64
    with pytest.raises(ValueError, match="outside RAM"):
        ram.read((1 << 20) - 1, 2)
    debugger.resume()
    assert ram.read(0x1000, 2) == b"\1\2", "while it runs there is only what was seen last"
    assert ram.read(0x2000, 2) == b"\0\0"


def test_models_in_the_help() -> None:
    text = "00i[      ] BXSHARE\nSupported CPU models:\n\nbx_generic\npentium\nryzen\n\n00i[SIM   ] quit_sim called\n"
    assert names(text) == ["bx_generic", "pentium", "ryzen"]


def test_what_cpuid_says() -> None:
    vendor = struct.unpack("<3I", b"AuthcAMDenti")
    processor = Processor(
        leaves={
            0: (13, *vendor),
            0x8000_0000: (0x8000_000A, 0, 0, 0),
            0x8000_0001: (0, 0, 4, 1 << 29),
            0x8000_000A: (1, 64, 0, 5),
        }
    )
    assert (processor.vendor, processor.long_mode, processor.svm, processor.npt) == ("AuthenticAMD", True, True, True)


# When it stops


def test_a_stop_is_told_from_what_the_software_prints(peer: Peer) -> None:
    peer.dialogue.go("c")
    peer.say("c\nNext at t=3\n<bochs:2> \n<bochs:7> hello")
    peer.dialogue.pump(Deadline.after(1))
    assert peer.dialogue.stopped() is None
    peer.say(AT_BREAKPOINT + "<bochs:2> ")
    peer.dialogue.pump(Deadline.after(1))
    halt = peer.dialogue.stopped()
    assert halt is not None and halt.reasons.startswith("(0) Breakpoint 1,")
    assert replies.next_instruction(halt.next) == (8, 0xFFFF0040)
    assert peer.dialogue.printed == b"Next at t=3\n<bochs:2> \n<bochs:7> hello"


def test_half_a_stop_is_not_taken_for_print(peer: Peer) -> None:
    peer.dialogue.go("c")
    peer.say("c\nline\nrest(0) Breakpoint 1, 0x00")
    peer.dialogue.pump(Deadline.after(1))
    peer.dialogue.flush()
    assert peer.dialogue.printed == b"line\n"


def test_a_line_without_end_is_printed_all_the_same(peer: Peer) -> None:
    peer.dialogue.go("c")
    peer.say("c\n" + 30_000 * "x")
    peer.dialogue.pump(Deadline.after(1))
    assert 20_000 < peer.dialogue.flush() < 30_000


def test_watchpoints_name_the_address(peer: Peer, debugger: BochsDebugger) -> None:
    peer.answer("c", f"(0) Caught write watch point at 0x000001ABC008\nNext at t=24\n{NEXT}")
    debugger.resume()
    stop = debugger.wait(Deadline.after(1))
    assert stop.watched == 0x1ABC008
    assert debugger.register("rip") == 0xFFFF0040, "known from the stop, and not asked for"


def test_memory_of_the_next_instruction_that_cannot_be_read(peer: Peer, debugger: BochsDebugger) -> None:
    peer.answer("c", "Next at t=9\n(0).[9] ??? (physical address not available)\n")
    peer.answer("c", "(0) Breakpoint 3, 0x00000000f0000000 in ?? ()\nNext at t=9\nbx_dbg_read_linear: error\n")
    debugger.resume()
    assert debugger.wait(Deadline.after(1)).reply == "S05"
    assert peer.heard == ["c", "c"], "what stops for no reason goes on"


def test_stepping_onto_a_breakpoint_stops_there_again(peer: Peer, debugger: BochsDebugger) -> None:
    """Bochs itself would go on: 2.6 to 3.0 without a word, 3.1 having named the breakpoint already."""
    for said in (INTERRUPTED, AT_BREAKPOINT):
        peer.answer("lb 0xffff0040")
        debugger.insert(Point.HARDWARE, 0xFFFF0040)
        peer.answer("s", said)
        debugger.step()
        debugger.resume()
        assert debugger.wait(Deadline.after(1)).reply == "S05"
        assert not debugger.running
        peer.answer("d")
        debugger.remove(Point.HARDWARE, 0xFFFF0040)
    assert peer.heard == ["lb 0xffff0040", "s", "d 1", "lb 0xffff0040", "s", "d 2"]


def test_a_triple_fault_that_was_intercepted_is_no_stop(peer: Peer, debugger: BochsDebugger) -> None:
    peer.run()
    debugger.resume()
    os.write(peer.logs, b"00000000027p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution\n")
    peer.say("c\nhi\n(0).[27] [0x0000ffff004b] 0008:00000000ffff004b (unk. ctxt): ud2 ; 0f0b\n")
    peer.answer("", INTERRUPTED)
    peer.answer('show "activity_state"', "show param name: <activity_state>\nactivity_state = 0x00000000\n")
    peer.answer("c", f"more{AT_BREAKPOINT}")
    peer.say("Choose one of the actions above: [die] ")
    assert debugger.wait(Deadline.after(1)).reply == "S05"
    assert peer.heard == ["c", "cont", 'show "activity_state"', "c"]
    assert peer.dialogue.printed == b"hi\n\nmore"


def test_a_triple_fault_that_was_not(peer: Peer, debugger: BochsDebugger) -> None:
    os.write(peer.logs, b"00000000027w[CPU0  ] exception(): 3rd (13) exception with no resolution\n")
    peer.answer("c", INTERRUPTED)
    peer.answer('show "activity_state"', "show param name: <activity_state>\nactivity_state = 0x00000002\n")
    debugger.resume()
    assert debugger.wait(Deadline.after(1)).shut_down


def test_a_panic_comes_back_to_the_debugger(peer: Peer, debugger: BochsDebugger) -> None:
    peer.run()
    debugger.resume()
    os.write(peer.logs, b"00000000099p[CPU0  ] >>PANIC<< change_cpu_mode: EFER.LMA is set when CR0.PE=0 !\n")
    peer.answer("", INTERRUPTED)
    rule = 72 * "="
    peer.say(f"c\nhi\n\a{rule}\nEvent type: PANIC\nDevice: [CPU0  ]\nChoose one of the actions above: [die] ")
    assert debugger.wait(Deadline.after(1)).broken
    assert peer.log.panic == "[CPU0] change_cpu_mode: EFER.LMA is set when CR0.PE=0 !"
    assert peer.dialogue.printed.startswith(b"hi\n") and b"PANIC" not in peer.dialogue.printed
    debugger.resume()
    assert debugger.wait(Deadline.after(1)).broken, "a machine at its end stays there"
    assert peer.heard == ["c", "debug"]


def test_bochs_that_is_gone(peer: Peer, debugger: BochsDebugger) -> None:
    debugger.resume()
    peer.say("c\nlast wor")
    os.close(peer.says)
    peer.says = os.dup(0)
    assert debugger.wait(Deadline.after(1)).gone
    peer.dialogue.flush()
    assert peer.dialogue.printed == b"last wor"
    with pytest.raises(EngineError, match="gone"):
        peer.dialogue.ask("r")


def test_no_stop_in_time(debugger: BochsDebugger) -> None:
    debugger.resume()
    with pytest.raises(DeadlineExceeded):
        debugger.wait(Deadline.after(0.01))
    with pytest.raises(ProtocolError, match="interrupt it first"):
        debugger.registers()


# What it is told


def test_points_take_linear_slots_then_physical_ones(peer: Peer, debugger: BochsDebugger) -> None:
    for n in range(32):
        peer.answer(f"{'lb' if n < 16 else 'pb'} {n:#x}")
        debugger.insert(Point.HARDWARE, n)
    debugger.insert(Point.HARDWARE, 7)  # set already
    with pytest.raises(ProtocolError, match="32 breakpoints, and all are set"):
        debugger.insert(Point.HARDWARE, 99)
    peer.answer("d 3")
    peer.answer("lb 0x63")
    debugger.swap([(Point.HARDWARE, 2, 1)], [(Point.HARDWARE, 0x63, 1)])
    assert peer.heard[-2:] == ["d 3", "lb 0x63"]
    with pytest.raises(ProtocolError, match="no breakpoint at 0x2"):
        debugger.remove(Point.HARDWARE, 2)


def test_before_a_guest_runs_physical_points_become_virtual(peer: Peer, debugger: BochsDebugger) -> None:
    """A physical one costs a walk of the guest's tables before each of its instructions."""
    for n in range(17):
        peer.answer(f"{'lb' if n < 16 else 'pb'} {n:#x}")
        debugger.insert(Point.HARDWARE, n)
    peer.answer("s", f"Next at t=9\n{NEXT.replace('mov al, 0x0a', 'vmrun       ')}")
    debugger.step()
    for command in ("d 17", "vb 0x8:0x10", "s"):
        peer.answer(command, INTERRUPTED if command == "s" else "")
    debugger.step()
    peer.answer("vb 0x8:0x11")
    debugger.insert(Point.HARDWARE, 0x11)
    peer.answer("d 18")
    debugger.remove(Point.HARDWARE, 0x10)
    assert peer.heard[17:] == ["s", "d 17", "vb 0x8:0x10", "s", "vb 0x8:0x11", "d 18"]


def test_a_watched_page(peer: Peer, debugger: BochsDebugger) -> None:
    peer.answer("watch r 0x1000 4096", "read watchpoint at 0x000000001000 len=4096 inserted\n")
    peer.answer("watch w 0x1000 4096", "write watchpoint at 0x000000001000 len=4096 inserted\n")
    debugger.insert(Point.ACCESS, 0x1000, 0x1000)
    peer.answer("unwatch 0x1000", "read watchpoint at 0x000000001000 removed\n")
    debugger.remove(Point.ACCESS, 0x1000, 0x1000)
    assert peer.heard == ["watch r 0x1000 4096", "watch w 0x1000 4096", "unwatch 0x1000"]


def test_registers_by_their_short_names(peer: Peer, debugger: BochsDebugger) -> None:
    """Outside 64-bit mode Bochs knows no others; in it they clear the upper half, as is meant."""
    peer.answer("set eax = 0x10")
    peer.answer("set rcx = 0x100000000")
    peer.answer("set r9 = 0x1", "Unknown 64B register [9] !!!\n")
    debugger.write_register("rax", 0x10)
    debugger.write_register("rcx", 1 << 32)
    with pytest.raises(ProtocolError, match=r"refuses `set r9 = 0x1`: Unknown"):
        debugger.write_register("r9", 1)
    with pytest.raises(ProtocolError, match="cannot set cr0"):
        debugger.write_register("cr0", 0)


# Its log


def test_log_tells_how_the_machine_ends(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.feed(b"00000000000i[SYS   ] bx_pc_system_c::Reset(HARDWARE) called\n")
    assert log.telling
    log.forget()
    log.feed(b"00000000021d[UNMAP ] unmapped: 8-bit write to 00e9 = 48\n00000000028d[UNMAP ] 8-bit write to 00")
    assert not log.telling
    log.feed(b"f4 = 92\n00000000029d[UNMAP ] 8-bit write to 00f4 = 11\n")
    assert log.exit_code == 0x12, "the first one counts, and 7 bits of it"
    log.feed(b"00000000032w[CPU0  ] [CPU0] HLT instruction with IF=0!\n")
    assert log.idle and not log.was_reset
    log.feed(b"00000000032p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n")
    assert log.switched_off and not log.panic
    log.close()
    assert (tmp_path / "log").read_bytes().count(b"\n") == 3, "writes to ports are not kept"


# Its ROM and its configuration


HANDOFF = Handoff(((0x100000, b"image!"), (0x9000, b"\1" * 4096)), 0x100020, 0x2BADB002, 0x9000)


def test_rom_holds_what_is_to_be_done() -> None:
    made = rom(HANDOFF, [Preset(0xC001_0114, 0x1_0000_0018)])
    size = len(made)
    assert size & (size - 1) == 0
    orders = made[-0x8000:]
    assert struct.unpack_from("<7I", orders) == (0x100020, 0x2BADB002, 0x9000, 0, 0, 1, 2)
    assert struct.unpack_from("<IQ", orders, 28) == (0xC001_0114, 0x1_0000_0018)
    where, address, words = struct.unpack_from("<III", orders, 40)
    assert (address, words) == (0x100000, 2)
    assert made[where - (1 << 32) + size :][:6] == b"image!"
    assert made[-16:-11] == bytes.fromhex("ea000000f0"), "the reset vector"
    assert made[-0x10000 + ask_at() :][:2] == bytes.fromhex("0fa2")


def test_image_that_fits_into_no_rom() -> None:
    large = Handoff(((0x100000, bytes(2 << 20)),), 0x100000, 0, 0)
    with pytest.raises(ImageError, match=r"2048 KiB, and a ROM has 1984 KiB"):
        rom(large)
    assert len(rom(large, largest=4 << 20)) == 4 << 20


def test_what_is_large_goes_into_ram() -> None:
    kernel, initramfs = b"k" * (3 << 20), b"i" * (2 << 20)
    small, ram = split(Handoff((*HANDOFF.regions, (0x110_0000, kernel), (0x150_0123, initramfs)), 0x100020, 1, 2))
    assert (small.regions, small.eip) == (HANDOFF.regions, 0x100020)
    assert ram is not None and (ram.address, ram.end) == (0x110_0000, 0x150_0123 + len(initramfs))
    assert ram.content[: len(kernel)] == kernel and ram.content[0x40_0123:] == initramfs
    assert struct.unpack_from("<7I", rom(small, ram=ram)[-0x8000:])[3:5] == (ram.address, ram.end)
    assert split(HANDOFF) == (HANDOFF, None)


def test_the_log_says_where_memory_is(peer: Peer) -> None:
    assert peer.log.ram_at is None
    peer.log.feed(b"00000000000i[MEM0  ] allocated memory at 0x7f01. after alignment, vector=0x7f8000, ...\n")
    peer.log.forget()
    assert peer.log.ram_at == 0x7F8000


def test_video_rom_has_its_checksum() -> None:
    assert sum(video_rom()) % 256 == 0 and len(video_rom()) == 512


def test_configuration_by_version() -> None:
    def config(version: tuple[int, int], without: tuple[str, ...] = ()) -> Config:
        return Config(version, "ryzen", 64, "R", "V", "L", "S", without)

    assert config((2, 7)).arguments == ("-q",) and config((3, 0)).arguments == ("-debugger", "-q")
    assert "warn:" not in str(config((3, 0))) and "warn: action=report" in str(config((3, 1)))
    assert "exclude_features=svm\n" in str(config((3, 1), ("svm",))) and "exclude" not in str(config((3, 1)))
    large = replace(config((2, 7)), ram="/R", ram_at=1 << 24)
    assert "optramimage1: file=/R, address=0x1000000\n" in str(large) and "optram" not in str(config((2, 7)))
    assert "optram" not in str(replace(large, version=(3, 1))), "it would read all of it to address 0"
