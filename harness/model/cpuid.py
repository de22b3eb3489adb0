"""What a processor reports by CPUID, as far as it is known: the features that VMRUN's rules depend on.

A bit that is not known raises :class:`Unknown` when a rule asks for it. So a rule that does not depend on it is judged
all the same, and of one that does the verdict can say what is missing.

>>> one = Cpuid.of({0x8000_0000: (0x8000_000A, 0, 0, 0), 0x8000_000A: (1, 16, 0, 1)})
>>> one.has(NP), one.has(VNMI), one.asids
(True, False, 16)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from harness.errors import SvmconfError
from harness.model.registers import Cr4, Efer
from harness.spec.gate import Bit, Gate, Term

REGISTERS = ("EAX", "EBX", "ECX", "EDX")
_ALL = 0xFFFF_FFFF
_EXTENDED = 0x8000_0000


class Unknown(Exception):
    """A fact that a rule depends on is not known; the message names it."""


def _svm(bit: int) -> Bit:
    return Bit(0x8000_000A, "EDX", bit)


SVM = Bit(0x8000_0001, "ECX", 2)
LM = Bit(0x8000_0001, "EDX", 29)
SHADOW_STACKS = Bit(7, "ECX", 7)
SEV, SEV_ES = Bit(0x8000_001F, "EAX", 1), Bit(0x8000_001F, "EAX", 3)
NP, LBR_VIRT, NRIPS, VMCB_CLEAN, FLUSH_BY_ASID = map(_svm, (0, 1, 3, 5, 6))
DECODE_ASSISTS, PMC_VIRT, AVIC, VMSAVE_VIRT, VGIF = map(_svm, (7, 8, 13, 15, 16))
GMET, X2AVIC, SSS_CHECK, ROGPT, TLBI_CTL, VNMI, IBS_VIRT = map(_svm, (17, 18, 19, 21, 24, 25, 26))
VMCB_ADDRESS_CHECK, IDLE_HLT = _svm(28), _svm(30)


def _bits(*terms: tuple[int, str, int]) -> Gate:
    return Gate((tuple(Term(Bit(*place)) for place in terms),))


CR4_BITS: dict[Cr4, Gate] = {
    Cr4.VME: _bits((1, "EDX", 1)),
    Cr4.PVI: _bits((1, "EDX", 1)),
    Cr4.TSD: _bits((1, "EDX", 4)),
    Cr4.DE: _bits((1, "EDX", 2)),
    Cr4.PSE: _bits((1, "EDX", 3)),
    Cr4.PAE: _bits((1, "EDX", 6)),
    Cr4.MCE: _bits((1, "EDX", 7)),
    Cr4.PGE: _bits((1, "EDX", 13)),
    Cr4.PCE: Gate(),  # every processor with RDPMC: no bit tells
    Cr4.OSFXSR: _bits((1, "EDX", 24)),
    Cr4.OSXMMEXCPT: _bits((1, "EDX", 25)),
    Cr4.UMIP: _bits((7, "ECX", 2)),
    Cr4.LA57: _bits((7, "ECX", 16)),
    Cr4.FSGSBASE: _bits((7, "EBX", 0)),
    Cr4.PCIDE: _bits((1, "ECX", 17)),
    Cr4.OSXSAVE: _bits((1, "ECX", 26)),
    Cr4.SMEP: _bits((7, "EBX", 7)),
    Cr4.SMAP: _bits((7, "EBX", 20)),
    Cr4.PKE: _bits((7, "ECX", 3)),
    Cr4.CET: _bits((7, "ECX", 7)),
}
"""Which bits of CR4 exist where CPUID says so (vol. 2, 3.1.3); all others must be 0."""

EFER_BITS: dict[Efer, Gate] = {
    Efer.SCE: _bits((0x8000_0001, "EDX", 11)),
    Efer.LME: Gate(),  # the rule about long mode looks at these two (SVM-15.5.1-C-011)
    Efer.LMA: Gate(),
    Efer.NXE: _bits((0x8000_0001, "EDX", 20)),
    Efer.SVME: _bits((0x8000_0001, "ECX", 2)),
    Efer.LMSLE: Gate(((Term(LM), Term(Bit(0x8000_0008, "EBX", 20), wanted=False)),)),
    Efer.FFXSR: _bits((0x8000_0001, "EDX", 25)),
    Efer.TCE: _bits((0x8000_0001, "ECX", 17)),
    Efer.MCOMMIT: _bits((0x8000_0008, "EBX", 8)),
    Efer.INTWB: _bits((0x8000_0008, "EBX", 13)),
    Efer.UAIE: _bits((0x8000_0021, "EAX", 7)),
    Efer.AIBRSE: _bits((0x8000_0021, "EAX", 8)),
}
"""Which bits of EFER exist where CPUID says so (vol. 2, 3.1.7); all others must be 0."""


@dataclass(frozen=True)
class Cpuid:
    """What is known of CPUID: (leaf, register, value, which of its 32 bits are known); of several the last counts."""

    known: tuple[tuple[int, str, int, int], ...] = ()

    @classmethod
    def of(cls, leaves: Mapping[int, tuple[int, int, int, int]]) -> Self:
        """From whole leaves: EAX, EBX, ECX and EDX by leaf; leaf 7 is its sub-leaf 0."""
        return cls(
            tuple(
                (leaf, register, value & _ALL, _ALL)
                for leaf in sorted(leaves)
                for register, value in zip(REGISTERS, leaves[leaf], strict=True)
            )
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From lines such as ``0x80000001 0x00: eax=0x... ebx=0x... ecx=0x... edx=0x...``, as ``cpuid -r`` prints.

        Of several processors the first counts. Raises :class:`SvmconfError` when no line is of that form.
        """
        leaves: dict[int, tuple[int, int, int, int]] = {}
        for found in _LINE.finditer(text):
            leaf, subleaf, *values = (int(number or "0", 16) for number in found.groups())
            if subleaf == 0:
                leaves.setdefault(leaf, (values[0], values[1], values[2], values[3]))
        if not leaves:
            raise SvmconfError("no CPUID leaf is in that file", "it shall hold what `cpuid -r` prints")
        return cls.of(leaves)

    def over(self, other: Cpuid) -> Cpuid:
        """What this one knows, and for registers of which it knows nothing what the other does."""
        return Cpuid((*other.known, *self.known))

    @cached_property
    def _by_place(self) -> dict[tuple[int, str], tuple[int, int]]:
        return {(leaf, register): (value, mask) for leaf, register, value, mask in self.known}

    def _look(self, leaf: int, register: str) -> tuple[int, int]:
        """Value and known bits; a leaf beyond the last is 0."""
        found = self._by_place.get((leaf, register))
        last, known = self._by_place.get((leaf & _EXTENDED, "EAX"), (0, 0))
        if known == _ALL and leaf > last:
            return 0, _ALL
        return found or (0, 0)

    def __call__(self, leaf: int, register: str) -> int:
        """A whole register; raise :class:`Unknown` unless every bit of it is known."""
        value, mask = self._look(leaf, register)
        if mask != _ALL:
            raise Unknown(f"CPUID Fn{leaf >> 16:04X}_{leaf & 0xFFFF:04X}_{register}")
        return value

    def has(self, bit: Bit) -> bool:
        """Whether a bit is reported; raise :class:`Unknown` when that is not known."""
        value, mask = self._look(bit.leaf, bit.register)
        if not mask >> bit.bit & 1:
            raise Unknown(f"CPUID {bit}")
        return bool(value >> bit.bit & 1)

    def meets(self, gate: Gate) -> bool:
        """Whether a gate of the catalogue holds; raise :class:`Unknown` when that depends on what is not known."""
        unknown: Unknown | None = None
        for terms in gate.alternatives:
            try:
                if all(self._holds(terms)):
                    return True
            except Unknown as missing:
                unknown = missing
        if unknown:
            raise unknown
        return not gate.alternatives

    def _holds(self, terms: Iterable[Term]) -> list[bool]:
        """Each term's truth; a false one settles it, whatever is not known of the others."""
        truths: list[bool] = []
        unknown: Unknown | None = None
        for term in terms:
            try:
                truths.append(self.has(term.bit) is term.wanted)
            except Unknown as missing:
                unknown = missing
        if unknown and all(truths):
            raise unknown
        return truths

    @cached_property
    def cr4_bits(self) -> tuple[int, int]:
        """The bits of CR4 that exist here; and those of which it is not known."""
        return self._existing(CR4_BITS)

    @cached_property
    def efer_bits(self) -> tuple[int, int]:
        """The bits of EFER that exist here; and those of which it is not known.

        LMSLE is never known to exist: CPUID can say that there is none (EferLmsleUnsupported), but a processor that
        does not say so may be of a kind that never had it.
        """
        existing, unknown = self._existing(EFER_BITS)
        return existing & ~Efer.LMSLE, unknown | existing & Efer.LMSLE

    def _existing(self, bits: Mapping[Cr4, Gate] | Mapping[Efer, Gate]) -> tuple[int, int]:
        existing = unknown = 0
        for bit, gate in bits.items():
            try:
                existing |= bit if self.meets(gate) else 0
            except Unknown:
                unknown |= bit
        return existing, unknown

    @property
    def physical_bits(self) -> int:
        """The width of a physical address: Fn8000_0008_EAX[7:0], 36 where there is no such leaf."""
        return self(0x8000_0008, "EAX") & 0xFF or 36

    @property
    def asids(self) -> int:
        """The number of ASIDs, the host's included."""
        return self(0x8000_000A, "EBX")


_LINE = re.compile(
    r"^\s*(?:0x)?([0-9a-f]{8})(?:\s+(?:0x)?([0-9a-f]{1,8}))?\s*:?"
    r"\s+eax=(?:0x)?([0-9a-f]{1,8})\s+ebx=(?:0x)?([0-9a-f]{1,8})"
    r"\s+ecx=(?:0x)?([0-9a-f]{1,8})\s+edx=(?:0x)?([0-9a-f]{1,8})",
    re.MULTILINE | re.IGNORECASE,
)


def _least() -> Cpuid:
    """Known bits only, all of them 1."""
    ones = ((1, "EDX", (1, 2, 3, 4, 6, 7, 13, 24, 25)), (0x8000_0001, "ECX", (2,)), (0x8000_0001, "EDX", (11, 20, 29)))
    masks = ((leaf, register, sum(1 << bit for bit in bits)) for leaf, register, bits in ones)
    return Cpuid(tuple((leaf, register, mask, mask) for leaf, register, mask in masks))


LEAST = _least()
"""A processor of which nothing is known but that it has SVM: what every such processor has, and no more."""
