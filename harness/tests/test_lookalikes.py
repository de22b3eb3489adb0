"""Bytes that look like an instruction and are part of another one."""

from __future__ import annotations

import pytest

from harness import build
from harness.boot import Insn
from harness.lab.assemble import assemble
from harness.machine.image import Image, Segment
from harness.machine.lookalikes import lookalikes

BASE = 0x10_0000


class Code(Image):
    """An image of nothing but code."""

    def __init__(self, code: bytes, symbols: set[int]) -> None:
        self.code, self.named = code, symbols

    @property
    def segments(self) -> list[Segment]:
        return [Segment((BASE,), self.code, True)]

    @property
    def symbols(self) -> set[int]:
        return self.named


def alike(source: str, bits: int, insn: Insn, symbols: set[int]) -> list[bool]:
    """For each place that has the instruction's bytes: whether it only looks like it."""
    image = Code(assemble(source, bits), symbols)
    places = image.find(insn.opcodes[0])
    return [place in lookalikes(image, places) for place in places]


@pytest.mark.parametrize("symbols", [set(), {BASE}])
@pytest.mark.parametrize(
    ("bits", "other"),
    [(64, "mov rdi, [rel $ + 7 + 3300Fh]"), (64, "mov word [rdx], 0x300F"), (32, "mov edi, [0x3300F]")],
)
def test_displacements_and_operands_are_told_from_instructions(bits: int, other: str, symbols: set[int]) -> None:
    assert alike(f"nop\n{other}\nnop\nwrmsr\nret", bits, Insn.WRMSR, symbols) == [True, False]


def test_code_of_one_width_is_not_taken_for_that_of_the_other() -> None:
    """In 64-bit code A1h has eight bytes of address: the WRMSR behind these four would be inside."""
    assert alike("mov eax, [0x179728]\nxor edx, edx\nwrmsr", 32, Insn.WRMSR, {BASE}) == [False]


def test_all_that_stands_for_itself_in_our_image_is_watched() -> None:
    image = Image.load(build.image())
    places = {place for insn in Insn for code in insn.opcodes for place in image.find(code)}
    start, size, _ = image.section(".sensitive")
    assert not {place for place in lookalikes(image, places) if start <= place < start + size}
