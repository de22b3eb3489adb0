"""What VMLOAD loads and VMSAVE writes, and nothing else."""

from collections.abc import Mapping

from conformance.descriptors import descriptor, system_descriptor
from conformance.vmload_vmsave.state import (
    MSRS,
    OTHER,
    PAGE,
    READ_SIZE,
    SEGMENTS,
    decoded,
    filled,
    reading,
    values,
    writing,
)
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program, Step
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.machine.vmcb import FIELDS, Vmcb

READ, GDT, GDTR = places.DATA + 0x8000, places.DATA + 0x9000, places.DATA + 0xA000
LOADED, WRITTEN = values(0x55), values(0x66)

MOVED = tuple(f"{name}.{part}" for name in SEGMENTS for part in ("selector", "attrib", "limit", "base")) + tuple(
    name for name in MSRS if "." not in name
)
"""All that VMLOAD loads and VMSAVE writes."""


def holds(vmcb: Vmcb, expected: Mapping[str, int]) -> None:
    """Each of these fields has this value."""
    others = {name: f"{vmcb[name]:#x}, not {value:#x}" for name, value in expected.items() if vmcb[name] != value}
    assert not others


def pattern() -> bytes:
    """A page in which no byte is like any that is moved, and no two groups of 8 bytes are alike."""
    return b"".join((0xE1D2_C3B4_0000_0000 | n * 0x1_0001).to_bytes(8, "little") for n in range(0x200))


def steps(*taken: Step, memory: dict[int, bytes]) -> dict[str, Program]:
    """These steps with this memory; the page to save to holds :func:`pattern`."""
    return {
        "": program(
            *enable_svm(), *taken,
            memory=memory | {OTHER: pattern()}, watches={OTHER: 0x1000, READ: READ_SIZE},
        )
    }  # fmt: skip


def saved(ran: Seen) -> Vmcb:
    """What is in the page that was saved to, at the end."""
    return Vmcb(ran.memory(OTHER, 0x1000, len(ran.steps) - 1))


# VMSAVE shows what is hidden: what it writes is judged apart from this.
LOAD = code(
    f"{writing(WRITTEN)}mov eax, {PAGE:#x}\nvmload\nmov r8d, fs\nmov r9d, gs\nsldt r10d\nstr r11d\n"
    f"{reading(READ)}mov eax, {OTHER:#x}\nvmsave",
    name="VMLOAD",
)
LOADS = steps(LOAD, memory={PAGE: filled(0x55).data})


def loads(ran: Seen, *names: str) -> None:
    """These MSRs held other values, and hold after VMLOAD what is in the page."""
    assert ran["VMLOAD"].vector is None
    found = decoded(ran.memory(READ, READ_SIZE, len(ran.steps) - 1))
    assert {name: hex(found[name]) for name in names} == {name: hex(LOADED[name]) for name in names}


@requirement("SVM-15.5.2-007")
@executes(LOADS)
def test_vmload_loads_segments(ran: Seen) -> None:
    """VMLOAD loads FS, GS, LDTR and TR: selectors, and what is hidden of them."""
    loads(ran, "fs.base", "gs.base")
    found = ran["VMLOAD"].registers
    selectors = {name: found[at] for name, at in zip(SEGMENTS, ("r8", "r9", "r10", "r11"), strict=True)}
    assert selectors == {name: parts["selector"] for name, parts in SEGMENTS.items()}
    page = filled(0x55)
    hidden = [f"{name}.{part}" for name in SEGMENTS for part in ("attrib", "limit", "base")]
    holds(saved(ran), {name: page[name] for name in hidden})


@requirement("SVM-15.5.2-008")
@executes(LOADS)
def test_vmload_loads_kernel_gs_base(ran: Seen) -> None:
    """VMLOAD loads KernelGsBase."""
    loads(ran, "kernel_gs_base")


@requirement("SVM-15.5.2-009")
@executes(LOADS)
def test_vmload_loads_syscall_msrs(ran: Seen) -> None:
    """VMLOAD loads STAR, LSTAR, CSTAR and SFMASK."""
    loads(ran, "star", "lstar", "cstar", "sfmask")


@requirement("SVM-15.5.2-010")
@executes(LOADS)
def test_vmload_loads_sysenter_msrs(ran: Seen) -> None:
    """VMLOAD loads SYSENTER_CS, SYSENTER_ESP and SYSENTER_EIP."""
    loads(ran, "sysenter_cs", "sysenter_esp", "sysenter_eip")


# A table with the probe's flat segments in their places, as its gates need them, then FS, GS, an LDT and a TSS.
TABLE = (
    bytes(8)
    + descriptor(0b1010, 0x9B, 0xFFFFF)
    + descriptor(0b1100, 0x93, 0xFFFFF)
    + descriptor(0b0100, 0xB3, 0x01234)
    + descriptor(0b1001, 0xF1, 0x00567)
    + system_descriptor(0x82, 0x0FF7, 0x1234_5000)
    + system_descriptor(0x89, 0x1067, 0x7F00_2345_6000)
)
LOADED_SEGMENTS = {
    "fs": {"selector": 0x18, "attrib": 0x4B3, "limit": 0x1234, "base": WRITTEN["fs.base"]},
    "gs": {"selector": 0x23, "attrib": 0x9F1, "limit": 0x0056_7FFF, "base": WRITTEN["gs.base"]},
    "ldtr": {"selector": 0x28, "attrib": 0x082, "limit": 0x0FF7, "base": 0x1234_5000},
    "tr": {"selector": 0x38, "limit": 0x1067, "base": 0x7F00_2345_6000},
}
"""What is in the registers once these selectors are loaded and the MSRs written."""
BUSY = 0x02

SAVES = steps(
    code(
        f"lgdt [{GDTR:#x}]\nmov eax, 0x18\nmov fs, eax\nmov eax, 0x23\nmov gs, eax\nmov eax, 0x28\nlldt ax\n"
        f"mov eax, 0x38\nltr ax\n{writing(WRITTEN)}mov eax, {OTHER:#x}\nvmsave",
        name="VMSAVE",
    ),
    memory={GDT: TABLE, GDTR: (len(TABLE) - 1).to_bytes(2, "little") + GDT.to_bytes(8, "little")},
)


def saves(ran: Seen, *names: str) -> None:
    """VMSAVE wrote these MSRs."""
    assert ran["VMSAVE"].vector is None
    holds(saved(ran), {name: WRITTEN[name] for name in names})


@requirement("SVM-15.5.2-011")
@executes(SAVES)
def test_vmsave_writes_segments(ran: Seen) -> None:
    """VMSAVE writes FS, GS, LDTR and TR: selectors, and what is hidden of them."""
    assert saved(ran).tr.attrib | BUSY == 0x8B  # whether LTR makes it busy is LTR's matter
    its = LOADED_SEGMENTS.items()
    holds(saved(ran), {f"{name}.{part}": value for name, parts in its for part, value in parts.items()})


@requirement("SVM-15.5.2-019")
@executes(SAVES)
def test_vmsave_writes_kernel_gs_base(ran: Seen) -> None:
    """VMSAVE writes KernelGsBase."""
    saves(ran, "kernel_gs_base")


@requirement("SVM-15.5.2-020")
@executes(SAVES)
def test_vmsave_writes_syscall_msrs(ran: Seen) -> None:
    """VMSAVE writes STAR, LSTAR, CSTAR and SFMASK."""
    saves(ran, "star", "lstar", "cstar", "sfmask")


@requirement("SVM-15.5.2-021")
@executes(SAVES)
def test_vmsave_writes_sysenter_msrs(ran: Seen) -> None:
    """VMSAVE writes SYSENTER_CS, SYSENTER_ESP and SYSENTER_EIP."""
    saves(ran, "sysenter_cs", "sysenter_esp", "sysenter_eip")


@requirement("SVM-15.5.2-012")
@executes(SAVES)
def test_vmsave_writes_nothing_else(ran: Seen) -> None:
    """VMSAVE leaves the rest of the page as it is, the control area included."""
    before, after = pattern(), saved(ran).data
    spared = set(range(0x1000))
    for name in MOVED:
        field = FIELDS[name]
        spared -= set(range(field.offset, field.offset + field.size))
        assert after[field.offset :][: field.size] != before[field.offset :][: field.size], f"{name} was not written"
    assert [hex(at) for at in sorted(spared) if before[at] != after[at]] == []


# Bit 47 is set, and the bits above it are not.
BASES = {"fs.base": 1, "gs.base": 2, "ldtr.base": 3, "tr.base": 4, "kernel_gs_base": 5}
BASES = {name: 0x8000_0000_1000 + n * 0x10_0000 for name, n in BASES.items()}
EXTENDED = {name: 0xFFFF << 48 | base for name, base in BASES.items()}


def without_extension() -> bytes:
    """A page to load from with :data:`BASES`."""
    page = filled(0x55)
    for name, base in BASES.items():
        page[name] = base
    return page.data


@requirement("SVM-15.5.2-013")
@executes(steps(LOAD, memory={PAGE: without_extension()}))
def test_vmload_extends_bases(ran: Seen) -> None:
    """VMLOAD extends the sign of bit 47 in the bases that it loads: they are canonical in the registers, and saved."""
    assert ran["VMLOAD"].vector is None
    found = decoded(ran.memory(READ, READ_SIZE, len(ran.steps) - 1))
    msrs = [name for name in EXTENDED if name in found]
    assert {name: hex(found[name]) for name in msrs} == {name: hex(EXTENDED[name]) for name in msrs}
    holds(saved(ran), EXTENDED)
