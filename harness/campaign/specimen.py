"""One guest of a campaign as plain data: a legal one, an instruction that is intercepted, and what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from harness.lab.guest import Guest, Mode, guest
from harness.lab.places import DATA, IOPM, MSRPM
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.model import exits
from harness.model.intercepts import INTERCEPTS

NAME = "guest"
"""The step that runs it."""

_MAPS = {IOPM: b"\xff" * 0x3000, MSRPM: b"\xff" * 0x2000}
_FLAT = tuple(mode for mode in Mode if mode.bits != 16)


@dataclass(frozen=True)
class Action:
    """An instruction of a guest at CPL 0 that raises no fault by itself, by its name among the model's intercepts."""

    name: str
    source: str
    modes: tuple[Mode, ...] = tuple(mode for mode in Mode if mode is not Mode.V86)

    @property
    def code(self) -> int:
        """The exit code of its intercept."""
        return INTERCEPTS[self.name].code


def _actions() -> Iterator[Action]:
    for name in ("CPUID", "RDTSC", "PUSHF", "POPF", "INVD", "PAUSE", "HLT", "VMMCALL", "WBINVD"):
        yield Action(name, name.lower())
    for name in ("STGI", "CLGI"):
        yield Action(name, name.lower(), _FLAT)  # #UD in real mode comes before the intercept
    yield Action("RDPMC", "xor ecx, ecx\nrdpmc")
    yield Action("INTn", "int 0x30")
    yield Action("ICEBP", "db 0xf1")
    yield Action("INVLPG", f"invlpg [{DATA:#x}]", _FLAT)
    yield Action("INVLPGA", "xor eax, eax\nxor ecx, ecx\ninvlpga", _FLAT)
    for name in ("VMLOAD", "VMSAVE", "VMRUN"):
        yield Action(name, f"mov eax, {DATA:#x}\n{name.lower()}", _FLAT)
    for name in ("SIDT", "SGDT", "LIDT", "LGDT"):
        yield Action(name, f"{name.lower()} [{DATA:#x}]", _FLAT)
    for name in ("SLDT", "STR"):
        yield Action(name, f"{name.lower()} ax", _FLAT)
    yield Action("LLDT", "xor eax, eax\nlldt ax", _FLAT)
    for number in (0, 2, 3, 4):
        yield Action(f"read CR{number}", "mov {a}, cr" + str(number))
        yield Action(f"write CR{number}", f"mov {{a}}, cr{number}\nmov cr{number}, {{a}}")
    for number in (0, 3, 6, 7):
        yield Action(f"read DR{number}", "mov {a}, dr" + str(number))
        yield Action(f"write DR{number}", f"mov {{a}}, dr{number}\nmov dr{number}, {{a}}")
    yield Action("I/O", "in al, 0x80")
    yield Action("MSR", "mov ecx, 0xC0000080\nrdmsr")


ACTIONS = {action.name: action for action in _actions()}


class Twist(BaseModel):
    """A change of a VMCB's field: the bits of ``mask`` become those of ``value``."""

    model_config = ConfigDict(frozen=True)

    field: str
    mask: int
    value: int

    def of(self, old: int) -> int:
        """What it makes of a value."""
        return old & ~self.mask | self.value

    def bits(self) -> Iterator[Twist]:
        """The same, a bit each."""
        for number in range(self.mask.bit_length()):
            if self.mask >> number & 1:
                yield Twist(field=self.field, mask=1 << number, value=self.value & 1 << number)

    def __str__(self) -> str:
        return f"{self.field}: {self.mask:#x} -> {self.value:#x}"


class Specimen(BaseModel):
    """What one program of a campaign runs. ``origin`` says which seed and number it came from."""

    model_config = ConfigDict(frozen=True)

    mode: Mode
    action: str
    nested: bool = False
    twists: tuple[Twist, ...] = ()
    origin: str = ""

    @property
    def source(self) -> str:
        """Its code, in NASM's language; VMMCALL ends it where nothing else does."""
        wide = "rax" if self.mode is Mode.LONG else "eax"
        return ACTIONS[self.action].source.format(a=wide) + "\nvmmcall"

    def plain(self) -> Specimen:
        """The same with changes of those bits only that are another's in a legal guest."""
        vmcb = self.model_copy(update={"twists": ()}).guest().vmcb
        twists: list[Twist] = []
        for twist in self.twists:
            mask = (vmcb[twist.field] ^ twist.of(vmcb[twist.field])) & twist.mask
            if mask:
                twists.append(Twist(field=twist.field, mask=mask, value=twist.value & mask))
        return self.model_copy(update={"twists": tuple(twists)})

    def guest(self) -> Guest:
        """The guest: its instruction is intercepted, ports and MSRs by maps that are all ones."""
        code = ACTIONS[self.action].code
        it = guest(self.mode, self.source, nested=self.nested, iopm_base_pa=IOPM, msrpm_base_pa=MSRPM).having(_MAPS)
        page = bytearray(it.vmcb.data)
        page[code // 8] |= 1 << code % 8
        it.vmcb.data = bytes(page)
        for twist in self.twists:
            it.vmcb[twist.field] = twist.of(it.vmcb[twist.field])
        return it

    @property
    def program(self) -> Program:
        """Enables SVM and runs it."""
        return vmruns({NAME: self.guest()})

    @property
    def expected(self) -> int:
        """The exit code of a guest that runs, when nothing else comes before its instruction."""
        return ACTIONS[self.action].code

    def __str__(self) -> str:
        nested = ", nested paging" if self.nested else ""
        changed = "".join(f", {twist}" for twist in self.twists)
        return f"{self.mode.value}{nested}, {self.action} ({exits.name(self.expected)} intercepted){changed}"
