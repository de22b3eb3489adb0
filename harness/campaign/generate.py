"""From a seed and a number to a specimen: always the same one. Biased to boundaries.

>>> specimen(1, 5) == specimen(1, 5)
True
"""

from __future__ import annotations

from random import Random

from harness.campaign.specimen import ACTIONS, Specimen, Twist
from harness.machine.vmcb import FIELDS

_TWISTS = (1, 1, 1, 1, 2, 2, 3, 0)
"""How many changes: mostly one, since more hide each other."""

_SHUTDOWN = 1 << 31
_LOW_PAGE = 0xFFF

_BITS: dict[str, int] = {
    # Which bits of a field are changed. What would let a guest run wild, or a shutdown go through, is left alone.
    "intercept_misc1": 0xFFFF_FFFF & ~_SHUTDOWN & ~(1 << 27 | 1 << 28),
    "intercept_misc2": 0xFFFF,
    "intercept_exceptions": 0xFFFF_FFFF,
    "guest_asid": 0xFFFF_FFFF,
    "tlb_control": 0xFF,
    "vintr": (1 << 64) - 1,
    "interrupt_state": 0xFF,
    "eventinj": (1 << 64) - 1,
    "nested_control": 0xFE,
    "virt_enables": 0xF,
    "vmcb_clean": 0,
    "iopm_base_pa": (1 << 64) - 1 & ~(0xFFFF_F000),
    "msrpm_base_pa": (1 << 64) - 1 & ~(0xFFFF_F000),
    "n_cr3": (1 << 64) - (1 << 32) | _LOW_PAGE,
    "g_pat": (1 << 64) - 1,
    "cr0": (1 << 64) - 1,
    "cr3": (1 << 64) - (1 << 32) | _LOW_PAGE,
    "cr4": (1 << 64) - 1,
    "efer": (1 << 64) - 1,
    "dr6": (1 << 64) - 1,
    "dr7": (1 << 64) - 1,
    "rflags": 0x3F_FFD5 | 0xFFFF_FFFF << 32,
    "cpl": 0x3,
    "cs.attrib": 0xFFF,
    "ss.attrib": 0xFFF,
    "ds.attrib": 0xFFF,
    "tr.attrib": 0xFFF,
    "ldtr.attrib": 0xFFF,
    "cs.limit": 0xFFFF_FFFF,
    "cs.selector": 0xFFFF,
    "ss.selector": 0xFFFF,
    "ds.base": (1 << 64) - 1,
    "gdtr.limit": 0xFFFF_FFFF,
    "idtr.limit": 0xFFFF_0000,
    "tsc_offset": (1 << 64) - 1,
    "exitintinfo": (1 << 64) - 1,
    "dbgctl": 0x3F,
}

_FIELDS = tuple(name for name, bits in _BITS.items() if bits)
_OFTEN = ("eventinj", "cr0", "cr4", "efer", "vintr", "cs.attrib", "rflags")
_EVENTS = ((0, 0x20), (2, 2), (3, None), (4, None), (1, None), (5, None), (7, None))


def specimen(seed: int, number: int) -> Specimen:
    """The specimen of a number."""
    random = Random(f"{seed} {number}")
    action = random.choice(list(ACTIONS.values()))
    mode = random.choice(action.modes)
    twists: dict[str, Twist] = {}
    for _ in range(random.choice(_TWISTS)):
        field = (
            random.choice(_OFTEN) if random.random() < 0.4 else random.choice([n for n, bits in _BITS.items() if bits])
        )
        twists[field] = _event(random) if field == "eventinj" and random.random() < 0.9 else _twist(random, field)
    nested = random.random() < 0.3
    return Specimen(
        mode=mode,
        action=action.name,
        nested=nested,
        twists=tuple(twists.values()),
        origin=f"seed {seed}, number {number}",
    )


def _twist(random: Random, field: str) -> Twist:
    allowed = [n for n in range(8 * FIELDS[field].size) if _BITS[field] >> n & 1]
    kind = random.random()
    chosen = [random.choice(allowed)] if kind < 0.7 else random.sample(allowed, min(len(allowed), random.randint(2, 4)))
    mask = sum(1 << n for n in chosen)
    if kind > 0.9:  # all ones, or all zeros, of what may be changed
        mask = sum(1 << n for n in allowed)
    value = mask if random.random() < 0.7 else mask & random.getrandbits(64)
    return Twist(field=field, mask=mask, value=value)


def _event(random: Random) -> Twist:
    """A request of an event: its type and vector at the edges of what is legal."""
    kind, vector = random.choice(_EVENTS)
    if vector is None:
        vector = random.choice((*range(33), 0x80, 0xFF))
    error = random.random() < 0.3
    value = 1 << 31 | error << 11 | kind << 8 | vector
    return Twist(field="eventinj", mask=(1 << 64) - 1, value=value)
