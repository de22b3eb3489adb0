"""The format of segments in the VMCB (15.5.1): attributes of 12 bits, limits in bytes."""

from conformance.descriptors import descriptor
from conformance.vmrun.guests import VMMCALL, exit_codes
from conformance.vmrun.visits import registers
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen

GDT = places.DATA
GP = 13

# Descriptors with base 0: flags (bits 55:52, G D L AVL), access byte (47:40), and the limit's 20 bits.
DESCRIPTORS = {
    "cs": (0b1101, 0x9F, 0xFFFFF),  # conforming, AVL
    "ss": (0b0100, 0x93, 0xFFFFF),  # in bytes
    "ds": (0b1100, 0xF1, 0x00000),  # DPL 3, read-only
    "es": (0b0001, 0xBB, 0x00FFF),  # 16-bit code, DPL 1
}
LONG_CODE = (0b1011, 0x9B, 0xFFFFF)


def attributes(flags: int, access: int, limit: int) -> int:
    """What a VMCB holds of it: descriptor bits 55:52 and 47:40."""
    return flags << 8 | access


def in_bytes(flags: int, access: int, limit: int) -> int:
    """Its limit in bytes."""
    return limit << 12 | 0xFFF if flags & 0b1000 else limit


def loading() -> Guest:
    """A guest in protected mode that loads CS, SS, DS and ES from a table of its own."""
    code = "".join(f"mov eax, {8 * (n + 1)}\nmov {name}, eax\n" for n, name in enumerate(DESCRIPTORS) if name != "cs")
    table = bytes(8) + b"".join(descriptor(*fields) for fields in DESCRIPTORS.values())
    it = guest(Mode.PROTECTED, f"{code}jmp 8:.on\n.on: vmmcall", gdtr__base=GDT, gdtr__limit=len(table) - 1)
    return it.having({GDT: table})


def loading_long() -> Guest:
    """A guest in 64-bit mode that loads CS."""
    code = "push 0x8\nlea rax, [rel .on]\npush rax\nretfq\n.on: vmmcall"
    it = guest(Mode.LONG, code, gdtr__base=GDT + 0x100, gdtr__limit=0xF)
    return it.having({GDT + 0x100: bytes(8) + descriptor(*LONG_CODE)})


LOADING = {"protected mode": loading(), "64-bit mode": loading_long()}


@requirement("SVM-15.5.1-038")
@executes({"": vmruns(LOADING)})
def test_attributes_are_bits_of_the_descriptor(ran: Seen) -> None:
    """After #VMEXIT the attributes of each segment are bits 55:52 and 47:40 of the descriptor that the guest loaded."""
    for name in LOADING:
        registers(ran, name)
    after = ran.vmrun("protected mode").after
    assert {name: hex(after[f"{name}.attrib"]) for name in DESCRIPTORS} == {
        name: hex(attributes(*fields)) for name, fields in DESCRIPTORS.items()
    }
    assert hex(ran.vmrun("64-bit mode").after.cs.attrib) == hex(attributes(*LONG_CODE))


@requirement("SVM-15.5.1-039")
@executes({"": vmruns(LOADING)})
def test_limits_are_saved_in_bytes(ran: Seen) -> None:
    """After #VMEXIT the limit of each segment that the guest loaded is in bytes, whatever its G."""
    registers(ran, "protected mode")
    after = ran.vmrun("protected mode").after
    assert {name: hex(after[f"{name}.limit"]) for name in DESCRIPTORS} == {
        name: hex(in_bytes(*fields)) for name, fields in DESCRIPTORS.items()
    }


def reading(address: int, granularity: int) -> Guest:
    """A guest in protected mode that reads four bytes there through an ES whose limit is 0FFFh bytes."""
    return guest(
        Mode.PROTECTED,
        f"mov eax, [es:{address:#x}]\nvmmcall",
        es__limit=0xFFF, es__attrib=0x493 | granularity << 11, intercept_exceptions=1 << GP,
    )  # fmt: skip


READING = {
    f"{address:#x} with G={g}": reading(address, g) for address in (0xFFC, 0xFFD, 0x1000, 0xF_F000) for g in (0, 1)
}


@requirement("SVM-15.5.1-039")
@executes({"": vmruns(READING)})
def test_limits_are_taken_in_bytes(ran: Seen) -> None:
    """VMRUN takes the limit of a segment in bytes, whatever its G: 0FFFh ends at 0FFFh."""
    beyond = {name: "0xffc" not in name for name in READING}
    assert exit_codes(ran, READING) == {name: 0x40 + GP if out else VMMCALL for name, out in beyond.items()}
