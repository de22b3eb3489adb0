"""INIT that the processor sends itself, and what a program says before it is gone: INIT ends it with its results.

Where VM_CR.R_INIT can be set the processor survives: it takes #SX instead.
"""

from conformance.gif.interrupts import source
from harness.lab.seen import Seen
from harness.lab.steps import rdmsr, wrmsr
from harness.machine.ending import How
from harness.msr import Msr, VmCr

SX = 30
DEBUG_PORT = 0xE9
FIRMWARE = range(0xE_0000, 0x10_0000)
"""Where a PC's firmware resets the rest of the machine, each in its own way."""

REDIRECTED = (wrmsr(Msr.VM_CR, VmCr.R_INIT), rdmsr(Msr.VM_CR).model_copy(update={"name": "VM_CR"}))
"""Steps that set R_INIT, and look whether it is set."""

_MACROS = f"""
%define send_init send 0x4500

%macro send_init_if_redirected 0
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    test al, {VmCr.R_INIT:#x}
    jz %%never
    send_init
%%never:
%endmacro

%macro say 1
    jmp short %%on
%%text: db %1
%%end:
%%on:
    lea rsi, [rel %%text]
    mov ecx, %%end - %%text
    mov edx, {DEBUG_PORT:#x}
    cld
    rep outsb
%endmacro
"""


def init_source(code: str) -> str:
    """The code, which may use ``send_init``, ``send_init_if_redirected``, ``say "text"`` and ``wait_a_little``.

    They change RAX, RCX, RDX, RSI and RDI.
    """
    return source(_MACROS + code)


def redirected(ran: Seen) -> None:
    """R_INIT is set, so an INIT was sent."""
    assert ran["VM_CR"].value & VmCr.R_INIT, "R_INIT could not be set"


def is_gone(ran: Seen) -> None:
    """An INIT has taken the processor away from the last step: firmware runs, which resets the machine or halts."""
    assert len(ran.steps) == len(ran.program.steps) - 1, "the last step ended"
    in_firmware = bool(ran.ended.rips) and all(rip in FIRMWARE for rip in ran.ended.rips)
    assert in_firmware or ran.ended.how in (How.RESET, How.HALTED), f"the machine {ran.ended}"


def said(ran: Seen, *texts: str) -> list[str]:
    """Which of these the program has said, on the machine's debug port."""
    return [text for text in texts if text in ran.console]
