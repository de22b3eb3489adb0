"""A VMCB that is being written, for programs.

>>> vmcb = Draft(guest_asid=1, cs__base=0x1000)
>>> vmcb.cr0 |= 1 << 31
>>> hex(vmcb.cr0), vmcb.cs.base
('0x80000000', 4096)
>>> vmcb.guest_asid = 1 << 32
Traceback (most recent call last):
...
ValueError: guest_asid has 4 bytes: 0x100000000 does not fit
"""

from __future__ import annotations

from harness.machine.vmcb import FIELDS, Vmcb

PAGE = 0x1000


class Draft(Vmcb):
    """A page of zeros with these fields set; a dot in a field's name is written ``__``.

    Fields are written as attributes or by name. Raises :class:`KeyError` for an unknown field, :class:`ValueError` for
    a number that does not fit.
    """

    def __init__(self, **fields: int) -> None:
        super().__init__(bytes(PAGE))
        self._page = bytearray(PAGE)
        self.update(**fields)

    @property
    def data(self) -> bytes:
        """The page as it is now."""
        return bytes(self._page)

    @data.setter
    def data(self, page: bytes) -> None:
        self._page = bytearray(page)

    def __setitem__(self, name: str, value: int) -> None:
        if name not in FIELDS:
            raise KeyError(f"a VMCB has no field {name}")
        field = FIELDS[name]
        if not 0 <= value < 1 << 8 * field.size:
            raise ValueError(f"{name} has {field.size} bytes: {value:#x} does not fit")
        self._page[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")

    def update(self, **fields: int) -> Draft:
        """Set several fields."""
        for name, value in fields.items():
            self[name.replace("__", ".")] = value
        return self

    def put(self, offset: int, value: bytes) -> Draft:
        """Write bytes that have no name, at an offset from the start of the VMCB."""
        self._page[offset : offset + len(value)] = value
        return self

    def copy(self) -> Draft:
        """Another one with the same content."""
        other = Draft()
        other.data = self.data
        return other
