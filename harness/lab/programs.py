"""Programs that run guests.

>>> program = vmruns({"legal": guest(), "no ASID": guest(guest_asid=0)})
>>> [step.name for step in program.steps]
['wrmsr', 'wrmsr', 'legal', 'no ASID']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.lab import places, steps
from harness.lab.guest import Guest, guest
from harness.lab.program import Program, Step

__all__ = ["guest", "program", "regions", "vmruns"]


def vmruns(guests: Mapping[str, Guest] | Guest, *, first: Iterable[Step] = (), last: Iterable[Step] = ()) -> Program:
    """Enable SVM, then run each guest, in a step of its name.

    :param first: steps between enabling and the guests, :param last: steps after them.
    """
    named = {"VMRUN": guests} if isinstance(guests, Guest) else guests
    at = {name: places.VMCBS + number * places.PAGE for number, name in enumerate(named)}
    tried = [steps.vmrun(at[name], it.registers, name=name) for name, it in named.items()]
    return program(*steps.enable_svm(), *first, *tried, *last, guests={at[name]: it for name, it in named.items()})


def program(*taken: Step, guests: Mapping[int, Guest] | None = None, memory: Mapping[int, bytes] | None = None,
            watches: Mapping[int, int] | None = None) -> Program:  # fmt: skip
    """These steps, with the memory of guests, whose VMCBs are at these addresses and are watched.

    Raises :class:`ValueError` when two guests want different things at the same address.
    """
    placed = guests or {}
    found = regions(*placed.values())
    found |= {at: it.vmcb.data for at, it in placed.items()}
    watched = dict.fromkeys(placed, places.PAGE)
    return Program(regions=found | dict(memory or {}), watches=watched | dict(watches or {}), steps=taken)


def regions(*guests: Guest) -> dict[int, bytes]:
    """The memory of several guests; raise :class:`ValueError` when they want different things at one address."""
    found: dict[int, bytes] = {}
    for it in guests:
        for address, content in it.memory.items():
            if found.setdefault(address, content) != content:
                raise ValueError(f"two guests want different things at {address:#x}: they need programs of their own")
    return found
