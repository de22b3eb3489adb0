"""Where the lab puts things in the probe's scratch memory (16 MiB to 32 MiB): physical addresses.

What a case puts there by itself goes to :data:`DATA`, or below 1 MiB (:data:`LOW_DATA`) where real mode must reach it.
"""

from __future__ import annotations

from harness.lab.program import LOW, SCRATCH, SCRATCH_END

PAGE = 0x1000

VMCBS = SCRATCH
"""VMCBs, a page each, 256 of them."""

HSAVE = SCRATCH + 0x10_0000
IOPM = SCRATCH + 0x11_0000
MSRPM = SCRATCH + 0x12_0000

LONG_TABLES = SCRATCH + 0x20_0000
PAE_TABLES = SCRATCH + 0x21_0000
TWO_LEVEL_TABLES = SCRATCH + 0x22_0000
NESTED_TABLES = SCRATCH + 0x23_0000
OWN_TABLES = SCRATCH + 0x24_0000
"""Page tables that a case builds itself."""

CODE, CODES = SCRATCH + 0x30_0000, 256
"""Guests' code: one of 256 pages each, chosen by what it is."""

STACK = SCRATCH + 0x41_0000
"""The top of a guest's stack."""

DATA = SCRATCH + 0x50_0000
DATA_END = SCRATCH_END

LOW_STACK = 0x7000
"""SP of a guest in real mode, whose SS has base 0: memory that nobody needs."""

LOW_DATA = LOW
