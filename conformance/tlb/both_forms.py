"""Tables that are PAE tables and two-level tables at once, so that CR4.PAE can be toggled with paging on.

One page is the root of both: four entries of 8 bytes, or eight of 4 bytes, each for 4 MiB. Read the one way, linear
addresses are physical ones up to 32 MiB, and the page at :data:`PAGE` is the one that moves. Read the other way, the
code of guests at :data:`CODE` and of steps is where it is, and nothing else counts.
"""

import struct

from conformance.tlb.moved import OLD
from harness.lab import places
from harness.lab.paging import FLAGS, LARGE, SMALL, Page

PAGE = 3 << 30
CODE = places.DATA + 0x2_0000
LARGE_PAGES = 16


class BothForms:
    """Six pages from an address on; the entry of the page that moves has these flags, and is at :attr:`entry`."""

    def __init__(self, at: int, flags: int) -> None:
        self.root, identity, steps, guests, directory, self.entry = (at + n * SMALL for n in range(6))
        # Two of the four entries are not present, so that their upper halves are free to be entries of the eight.
        root = struct.pack("<8I", identity | Page.P, 0, 0, steps | FLAGS, 0, guests | FLAGS, directory | Page.P, 0)
        large = [n * LARGE | FLAGS | Page.PS for n in range(LARGE_PAGES)]
        self.regions = {
            self.root: root,
            identity: struct.pack(f"<{LARGE_PAGES}Q", *large),
            steps: _four_mib(3),
            guests: _four_mib(5),
            directory: (self.entry | FLAGS).to_bytes(8, "little"),
            self.entry: (OLD | flags).to_bytes(8, "little"),
        }


def _four_mib(number: int) -> bytes:
    """A two-level table in which linear addresses are physical ones."""
    first = number << 22
    return struct.pack("<1024I", *(first + n * SMALL | FLAGS for n in range(1024)))
