"""Small programs for a Linux guest, for what its tools cannot do: machine code in an ELF file with one segment."""

from __future__ import annotations

import struct

from harness.boot import Insn

_LOADED_AT, _HEADERS = 0x40_0000, 64 + 56
_EXIT = bytes.fromhex("b83c000000 0f05")  # mov eax, 60; syscall


def elf(code: bytes) -> bytes:
    """A program that is ``code``."""
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    head = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _LOADED_AT + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOADED_AT, _LOADED_AT, size, size, 0x1000)
    return ident + head + segment + code


def canary() -> bytes:
    """Ends with 0 when a thousand CPUIDs, each an exit to a hypervisor, left R12 and XMM0 as they were, else with 1."""
    value = (0x1122_3344_5566_7788).to_bytes(8, "little")
    # mov r12, value; movq xmm0, r12; mov ebp, 1000
    start = b"\x49\xbc" + value + bytes.fromhex("66490f6ec4 bde8030000")
    right = bytes.fromhex("31ff") + _EXIT  # xor edi, edi
    wrong = bytes.fromhex("bf01000000") + _EXIT  # mov edi, 1
    cpuid = bytes.fromhex("b800000040") + Insn.CPUID.opcodes[0]  # mov eax, 40000000h
    vector = bytes.fromhex("66480f7ec0 4c39e0 75")  # movq rax, xmm0; cmp rax, r12; jne
    number = b"\x48\xb9" + value + bytes.fromhex("4939cc 75")  # mov rcx, value; cmp r12, rcx; jne
    again = bytes.fromhex("ffcd 75")  # dec ebp; jnz
    round_size = len(cpuid) + len(vector) + 1 + len(number) + 1 + len(again) + 1
    behind_vector = round_size - len(cpuid) - len(vector) - 1 + len(right)
    behind_number = len(again) + 1 + len(right)
    return elf(
        start
        + cpuid
        + (vector + bytes([behind_vector]))
        + (number + bytes([behind_number]))
        + (again + bytes([256 - round_size]))
        + right
        + wrong
    )


def svm_instruction() -> bytes:
    """Executes VMRUN, which ends it by SIGILL where there is no SVM."""
    return elf(Insn.VMRUN.opcodes[0] + _EXIT)
