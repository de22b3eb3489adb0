"""Legal guests in every mode, as the model takes them: :mod:`harness.lab.guest` makes them.

>>> from harness.model import State, judge
>>> judge(State(rax=0x1000, vmcb=guest(Mode.LONG, cr0=0x8000_0011 | 1 << 29))).because[0].why
'NW is 1 while CD is 0'
"""

from __future__ import annotations

from harness.lab.guest import WRITE_BACK, Mode
from harness.lab.guest import guest as whole
from harness.machine.vmcb import Vmcb

__all__ = ["WRITE_BACK", "Mode", "guest"]


def guest(mode: Mode, nested: bool = False, **changes: int) -> Vmcb:
    """A legal VMCB but for the changes (a dot in a field's name is written ``__``), with nested paging or without."""
    return Vmcb(whole(mode, nested=nested, **changes).vmcb.data)
