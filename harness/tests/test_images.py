"""What every image must be, whatever it does: small, and nothing below the stack pointer.

The red zone: compilers may keep data in the 128 bytes below RSP. An exception that is handled on the interrupted stack
destroys them, and the hypervisor has such (hypervisor/README.md). So no instruction may read or write there, be it ours
or the precompiled core's. Should one ever be unavoidable, name it in ``HARMLESS`` and say why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness import build, paths

KIB = 1024
LARGEST = 512 * KIB
IMAGES = {"hypervisor": build.image, "probe": build.probe}
HARMLESS: dict[str, str] = {}
"""Functions whose accesses below RSP can do no harm, and why."""

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(.+)$")
_OPERAND = re.compile(r"\[(rsp|rbp)(\+[a-z0-9*]+)?-0x([0-9a-f]+)\]")
_RESERVES = re.compile(r"sub\s+rsp,0x([0-9a-f]+)")
_NO_ACCESS = ("lea", "nop")


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_an_image_is_small(name: str) -> None:
    """From its first byte in memory to its last, with stacks and tables; the probe's large memory has no bytes."""
    with IMAGES[name]().open("rb") as file:
        loaded = [s.header for s in ELFFile(file).iter_segments() if s.header.p_type == "PT_LOAD"]
    sizes = {hex(s.p_paddr): s.p_memsz for s in loaded}
    assert 0 < sum(sizes.values()) < LARGEST, f"{sum(sizes.values()) // KIB} KiB: {sizes}"


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_nothing_is_kept_below_the_stack_pointer(name: str) -> None:
    found = [
        f"{function}: {what}" for function, what in below_rsp(disassembly(IMAGES[name]())) if function not in HARMLESS
    ]
    assert not found, f"{len(found)} accesses below RSP: {found[:10]}"


def test_no_image_is_linked_without_the_flag(tmp_path: Path) -> None:
    """RUSTFLAGS takes the place of `.cargo/config.toml`: the build stops and says so."""
    env = {**os.environ, "RUSTFLAGS": "-Cdebuginfo=0", "CARGO_TARGET_DIR": str(tmp_path)}
    command = ["cargo", "check", "--locked", "--package", "svmconf-probe"]
    done = subprocess.run(command, cwd=paths.HYPERVISOR, env=env, capture_output=True, text=True)
    assert done.returncode and "an image needs -Cno-redzone=yes" in done.stderr, done.stderr


def test_accesses_below_the_stack_pointer_are_found() -> None:
    """By RSP; by a frame pointer, below what the function has set aside. Not addresses, not what was set aside."""
    lines = """
0000000000001000 <leaf>:
    1000:\tmov    QWORD PTR [rsp-0x8],rdi
    1005:\tmov    eax,DWORD PTR [rsp+rcx*4-0x20]
    1009:\tlea    rax,[rsp-0x40]
    100e:\tmov    rax,QWORD PTR [rsp+0x8]
    1013:\tret
0000000000001020 <framed>:
    1020:\tpush   rbp
    1021:\tmov    rbp,rsp
    1024:\tpush   rbx
    1025:\tsub    rsp,0x10
    1029:\tmov    QWORD PTR [rbp-0x18],rdi
    102d:\tmov    QWORD PTR [rbp-0x20],rdi
    1031:\tret
0000000000001040 <unframed>:
    1040:\tmov    QWORD PTR [rbp-0x80],rdi
    1044:\tret
0000000000001060 <indexed>:
    1060:\tsub    rsp,0x40
    1064:\tmov    eax,DWORD PTR [rsp+rcx*4-0x20]
    1068:\tret
"""
    assert [function for function, _ in below_rsp(lines.splitlines())] == ["leaf", "leaf", "framed"]


def disassembly(image: Path) -> list[str]:
    objdump = shutil.which("objdump")
    assert objdump, "no objdump, though the linker that made the image is of the same package: apt-get install binutils"
    command = [objdump, "--disassemble", "--disassembler-options=intel", "--no-show-raw-insn", str(image)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def below_rsp(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Function and instruction of each access below RSP."""
    for function, instructions in _functions(lines):
        room = _room_below_rbp(instructions)
        sets_aside = any(one.startswith("push") or _RESERVES.match(one) for one in instructions)
        for instruction in instructions:
            operand = _OPERAND.search(instruction)
            if operand is None or instruction.startswith(_NO_ACCESS):
                continue
            base, index, distance = operand.groups()
            if base == "rsp" and index and sets_aside:
                continue  # an element of an array of the function's own
            if base == "rsp" or (room is not None and int(distance, 16) > room):
                yield function, instruction


def _functions(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    name, instructions = "", list[str]()
    for line in lines:
        if begins := _FUNCTION.match(line):
            yield name, instructions
            name, instructions = begins[1], []
        elif instruction := _INSTRUCTION.match(line):
            instructions.append(instruction[1])
    yield name, instructions


def _room_below_rbp(instructions: list[str]) -> int | None:
    """Bytes that a function sets aside below its frame pointer, at most; ``None`` where it has none."""
    is_frame: Callable[[str], bool] = lambda one: re.fullmatch(r"mov\s+rbp,rsp", one) is not None  # noqa: E731
    start = next((n for n, one in enumerate(instructions) if is_frame(one)), None)
    if start is None:
        return None
    behind = instructions[start:]
    reserved = sum(int(found[1], 16) for one in behind if (found := _RESERVES.match(one)))
    return reserved + 8 * sum(one.startswith(("push", "call")) for one in behind)
