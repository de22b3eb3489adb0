"""When a requirement applies: a predicate over CPUID, as the manual writes its bits.

::

    gate      = conjunction { " or " conjunction }        empty: always
    conjunction = term { " and " term }
    term = [ "not " ] "Fn8000_000A_EDX[0]"                a bit of the table below; leaf 7 means its sub-leaf 0

>>> gate = Gate.parse("Fn8000_0001_ECX[2] and Fn8000_000A_EDX[0]")
>>> gate.names
'SVM and NP'
>>> gate.missing(lambda leaf, register: 4)
'CPUID Fn8000_000A_EDX[0] (NP) is 0'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

Cpuid = Callable[[int, str], int]
"""What CPUID returns: (leaf, register such as ``EDX``) to 32 bits; 0 for a leaf beyond the last."""

_BIT = re.compile(r"Fn([0-9A-F]{4})_([0-9A-F]{4})_(E[ABCD]X)\[(\d|[12]\d|3[01])\]")

_NAMES = {
    "Fn0000_0001_ECX": {3: "MONITOR", 26: "XSAVE"},
    "Fn0000_0007_EBX": {10: "INVPCID"},
    "Fn0000_0007_ECX": {7: "CET_SS"},
    "Fn8000_0001_ECX": {2: "SVM", 3: "ExtApicSpace", 4: "AltMovCr8", 12: "SKINIT", 29: "MONITORX"},
    "Fn8000_0001_EDX": {20: "NX", 27: "RDTSCP", 29: "LM"},
    "Fn8000_0008_EBX": {3: "INVLPGB", 4: "RDPRU", 8: "MCOMMIT", 9: "WBNOINVD"},
    "Fn8000_000A_ECX": {4: "PML", 6: "x2AVIC_EXT"},
    "Fn8000_000A_EDX": {
        **{0: "NP", 1: "LbrVirt", 2: "SVML", 3: "NRIPS", 4: "TscRateMsr", 5: "VmcbClean", 6: "FlushByAsid"},
        **{7: "DecodeAssists", 8: "PmcVirt", 10: "PauseFilter", 12: "PauseFilterThreshold", 13: "AVIC"},
        **{15: "VmsaveVirt", 16: "VGIF", 17: "GMET", 18: "x2AVIC", 19: "SSSCheck", 20: "SpecCtrl", 21: "ROGPT"},
        **{23: "HOST_MCE_OVERRIDE", 24: "TlbiCtl", 25: "VNMI", 26: "IbsVirt", 27: "ExtLvtAvicAccessChg"},
        **{28: "NestedVirtVmcbAddrChk", 29: "BusLockThreshold", 30: "IdleHltIntercept"},
    },
    "Fn8000_001F_EAX": {
        **{1: "SEV", 2: "VmPageFlush", 3: "SEV-ES", 4: "SEV-SNP", 11: "64BitHost", 12: "RestrictInject"},
        **{13: "AlternateInject", 15: "PreventHostIbs", 16: "VTE", 19: "IbsVirtGuestCtl", 20: "PmcVirtGuestCtl"},
        **{26: "SecureAvic", 27: "AllowedSevFeatures"},
    },
    "Fn8000_0021_EAX": {9: "NoSmmCtlMSR", 24: "ERAPS"},
    "Fn8000_0022_EAX": {1: "LbrStack"},
}


@dataclass(frozen=True)
class Bit:
    """One bit that CPUID reports."""

    leaf: int
    register: str
    bit: int

    @property
    def name(self) -> str:
        """The manual's name for it, such as ``NP``."""
        return _NAMES[str(self).partition("[")[0]][self.bit]

    def is_set(self, cpuid: Cpuid) -> bool:
        """Whether CPUID reports 1."""
        return bool(cpuid(self.leaf, self.register) >> self.bit & 1)

    def __str__(self) -> str:
        return f"Fn{self.leaf >> 16:04X}_{self.leaf & 0xFFFF:04X}_{self.register}[{self.bit}]"


@dataclass(frozen=True)
class Term:
    """A bit that must be set, or with ``wanted`` false must be clear."""

    bit: Bit
    wanted: bool = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one; raise :class:`ValueError` when it is none."""
        place = text.removeprefix("not ")
        match = _BIT.fullmatch(place)
        if match is None:
            raise ValueError(f"{text!r} names no CPUID bit: write it like Fn8000_000A_EDX[0]")
        high, low, register, bit = match.groups()
        if int(bit) not in _NAMES.get(place.partition("[")[0], ()):
            raise ValueError(f"{place} has no name: is it a feature? Then harness/spec/gate.py shall have its name")
        return cls(Bit(int(high + low, 16), register, int(bit)), place == text)

    @property
    def names(self) -> str:
        """For a person."""
        return self.bit.name if self.wanted else f"not {self.bit.name}"

    def holds(self, cpuid: Cpuid) -> bool:
        """Whether the bit is as it is wanted."""
        return self.bit.is_set(cpuid) is self.wanted

    def __str__(self) -> str:
        return str(self.bit) if self.wanted else f"not {self.bit}"


@dataclass(frozen=True)
class Gate:
    """Alternatives, each of terms that must all hold; without any it always holds."""

    alternatives: tuple[tuple[Term, ...], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a catalogue entry; raise :class:`ValueError` when it is not of this grammar."""
        if not text:
            return cls()
        return cls(tuple(tuple(Term.parse(term) for term in part.split(" and ")) for part in text.split(" or ")))

    @property
    def names(self) -> str:
        """For a person: the bits by name; empty when it always holds."""
        return " or ".join(" and ".join(term.names for term in terms) for terms in self.alternatives)

    @property
    def bits(self) -> tuple[Bit, ...]:
        """Every bit that it looks at, each once, as they come."""
        return tuple(dict.fromkeys(term.bit for terms in self.alternatives for term in terms))

    def holds(self, cpuid: Cpuid) -> bool:
        """Whether it applies to that processor."""
        return not self.missing(cpuid)

    def missing(self, cpuid: Cpuid) -> str:
        """Which bits are not as they must be, for a skip's reason; empty when it holds.

        Of several alternatives it names the one that lacks least.
        """
        lacks = [[term for term in terms if not term.holds(cpuid)] for terms in self.alternatives]
        if not lacks or [] in lacks:
            return ""
        return "CPUID " + ", ".join(f"{t.bit} ({t.bit.name}) is {int(not t.wanted)}" for t in min(lacks, key=len))

    def __str__(self) -> str:
        return " or ".join(" and ".join(map(str, terms)) for terms in self.alternatives)
