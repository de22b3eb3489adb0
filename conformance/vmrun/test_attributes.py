"""Which attributes of segments VMRUN takes from the VMCB, and what they do in the guest (15.5.1)."""

from conformance.vmrun.guests import CATCH, VMMCALL, each_ends, exit_codes, runs
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.model import exits

STACK_FAULT, GP = exits.EXCEPTION + 12, exits.EXCEPTION + 13

ACCESSED, WRITABLE, EXPAND_DOWN, S, P, AVL, L, B, G = (1 << n for n in (0, 1, 2, 4, 7, 8, 9, 10, 11))
READABLE, CONFORMING, DPL = WRITABLE, EXPAND_DOWN, 3 << 5
"""Bits of a segment's attributes, as the VMCB packs a descriptor's (15.5.1)."""

CODE_32, EXECUTE_ONLY, DATA_32, DOWNWARDS = 0xC9B, 0xC99, 0xC93, 0x497

HERE = places.DATA


def protected(code: str | bytes, **changes: int) -> Guest:
    """A guest in 32-bit protected mode, whose faults end it."""
    return guest(Mode.PROTECTED, code, intercept_exceptions=CATCH, **changes)


TOUCHES_ALL = f"mov eax, [es:{HERE:#x}]\nmov [{HERE:#x}], eax\npush eax\npop eax\nmov eax, [cs:{HERE:#x}]\nvmmcall"

IGNORED = {
    "cs": {"A": ACCESSED, "S": S, "AVL": AVL, "G": G, "DPL": DPL, "C": CONFORMING},
    "ss": {"A": ACCESSED, "S": S, "AVL": AVL, "G": G, "DPL": DPL, "L": L},
    "ds": {"A": ACCESSED, "S": S, "AVL": AVL, "G": G, "L": L},
    "es": {"A": ACCESSED, "S": S, "AVL": AVL, "G": G, "L": L},
}
"""Attributes that VMRUN does not look at; the limit has all bits set, so that G changes nothing by another way."""

FLIPPED = {
    f"{name.upper()}.{bit}": protected(
        TOUCHES_ALL, **{f"{name}__attrib": (CODE_32 if name == "cs" else DATA_32) ^ mask}
    )
    for name, bits in IGNORED.items()
    for bit, mask in bits.items()
}


@requirement("SVM-15.5.1-041")
@executes(runs(FLIPPED))
def test_other_attributes_are_ignored(ran: Seen) -> None:
    """A guest in protected mode runs alike with those attribute bits flipped that VMRUN does not look at."""
    each_ends(ran, dict.fromkeys(FLIPPED, VMMCALL))


READS_ES = f"mov eax, [es:{HERE:#x}]\nvmmcall"
PRESENT = {"P=1": protected(READS_ES), "P=0": protected(READS_ES, es__attrib=DATA_32 ^ P)}


@requirement("SVM-15.5.1-055")
@executes(runs(PRESENT))
def test_data_segment_that_is_not_present_is_null(ran: Seen) -> None:
    """Outside 64-bit mode a read through ES raises #GP(0) when the VMCB's ES.P is 0."""
    each_ends(ran, {"P=1": VMMCALL, "P=0": GP})
    assert ran.vmrun("P=0").info1 == 0


# D=0: MOV AX, 1111h, INC AX twice, DEC AX, INC AX. D=1: MOV EAX, 40401111h, DEC EAX, INC EAX. L=1: that MOV, INC RAX.
TELLS_ITS_SIZE = bytes.fromhex("b8 1111 4040 48 ffc0 0f01d9")


def of_size(mode: Mode, attrib: int) -> Guest:
    """A guest whose code comes to another result by its default sizes; its code begins at offset 0 of CS."""
    it = guest(mode, TELLS_ITS_SIZE, cs__attrib=attrib, intercept_exceptions=CATCH)
    if mode is Mode.PROTECTED:
        it.vmcb.update(cs__base=it.entry, rip=0)
    return it


RESULTS = {"D=0": 0x1113, "D=1": 0x4040_1111, "L=0, D=1": 0x4040_1111, "L=1": 0x4040_1112}
SIZES = {
    "D=0": of_size(Mode.PROTECTED, CODE_32 ^ B),
    "D=1": of_size(Mode.PROTECTED, CODE_32),
    "L=0, D=1": of_size(Mode.COMPATIBILITY, CODE_32),
    "L=1": of_size(Mode.LONG, CODE_32 ^ B ^ L),
}


@requirement("SVM-15.5.1-056")
@executes(runs(SIZES))
def test_d_and_l_of_cs_are_used(ran: Seen) -> None:
    """CS.D and CS.L of the VMCB make the same bytes 16-bit, 32-bit or 64-bit code."""
    each_ends(ran, dict.fromkeys(SIZES, VMMCALL))
    assert {name: ran.vmrun(name).after.rax for name in SIZES} == RESULTS


READS_CS = f"mov eax, [cs:{HERE:#x}]\nvmmcall"
CODE_SEGMENTS = {"R=1": protected(READS_CS), "R=0": protected(READS_CS, cs__attrib=EXECUTE_ONLY)}


@requirement("SVM-15.5.1-056")
@executes(runs(CODE_SEGMENTS))
def test_r_of_cs_is_used(ran: Seen) -> None:
    """With CS.R=0 in the VMCB a read through CS raises #GP outside 64-bit mode."""
    each_ends(ran, {"R=1": VMMCALL, "R=0": GP})


def pushes(attrib: int, esp: int, **changes: int) -> Guest:
    """A guest with this SS, based at :data:`HERE`, that pushes EAX."""
    return protected("push eax\nvmmcall", rax=0x1234_5678, rsp=esp, ss__base=HERE, ss__attrib=attrib, **changes)


BELOW_64K, ABOVE_64K = HERE + 8, HERE + 0x1_0008
WIDTHS = {"B=1": pushes(DATA_32, 0x1_0010), "B=0": pushes(DATA_32 ^ B, 0x1_0010)}


def watching(variants: dict[str, Guest], *addresses: int) -> dict[str, Program]:
    """The program of these guests, with 8 bytes watched at each address."""
    one = runs(variants)[""]
    return {"": one.model_copy(update={"watches": one.watches | dict.fromkeys(addresses, 8)})}


@requirement("SVM-15.5.1-057")
@executes(watching(WIDTHS, BELOW_64K, ABOVE_64K))
def test_b_of_ss_is_used(ran: Seen) -> None:
    """SS.B=1 in the VMCB makes a push use ESP, SS.B=0 makes it use SP."""
    each_ends(ran, dict.fromkeys(WIDTHS, VMMCALL))
    written = [{at for at in (BELOW_64K, ABOVE_64K) if at in ran[name].changes} for name in WIDTHS]
    assert written == [{ABOVE_64K}, {BELOW_64K}]


DOWN = {
    "E=1, above the limit": pushes(DOWNWARDS, 0x1804, ss__limit=0xFFF),
    "E=1, below the limit": pushes(DOWNWARDS, 0x804, ss__limit=0xFFF),
}


@requirement("SVM-15.5.1-057")
@executes(runs(DOWN))
def test_e_of_ss_is_used(ran: Seen) -> None:
    """With SS.E=1 in the VMCB a push above the limit works, and one below it raises #SS."""
    each_ends(ran, dict(zip(DOWN, (VMMCALL, STACK_FAULT), strict=True)))


WRITES = {"W=1": pushes(DATA_32, 0x1_0010), "W=0": pushes(DATA_32 ^ WRITABLE, 0x1_0010)}


@requirement("SVM-15.5.1-057")
@executes(runs(WRITES))
def test_w_of_ss_is_used(ran: Seen) -> None:
    """With SS.W=0 in the VMCB a push faults outside 64-bit mode; whether by #SS or by #GP is not said."""
    assert exit_codes(ran, WRITES)["W=1"] == VMMCALL
    assert exit_codes(ran, WRITES)["W=0"] in (STACK_FAULT, GP)


LOADS, STORES = READS_ES, f"mov [es:{HERE:#x}], eax\nvmmcall"
SHORT = {"es__limit": 0xFFF, "es__attrib": DOWNWARDS, "es__base": HERE}
DATA_SEGMENTS = {
    "W=1, store": (protected(STORES), VMMCALL),
    "W=0, store": (protected(STORES, es__attrib=DATA_32 ^ WRITABLE), GP),
    "W=0, load": (protected(LOADS, es__attrib=DATA_32 ^ WRITABLE), VMMCALL),
    "readable code, load": (protected(LOADS, es__attrib=CODE_32), VMMCALL),
    "readable code, store": (protected(STORES, es__attrib=CODE_32), GP),
    "unreadable code, load": (protected(LOADS, es__attrib=EXECUTE_ONLY), GP),
    "E=1, above the limit": (protected("mov eax, [es:0x1800]\nvmmcall", **SHORT), VMMCALL),
    "E=1, below the limit": (protected("mov eax, [es:0x800]\nvmmcall", **SHORT), GP),
    "DS, W=0, store": (protected(f"mov [{HERE:#x}], eax\nvmmcall", ds__attrib=DATA_32 ^ WRITABLE), GP),
}


@requirement("SVM-15.5.1-058")
@executes(runs({name: it for name, (it, _) in DATA_SEGMENTS.items()}))
def test_attributes_of_data_segments_are_used(ran: Seen) -> None:
    """The VMCB's type of ES and DS says what may be read and written through them, and on which side of the limit."""
    each_ends(ran, {name: code for name, (_, code) in DATA_SEGMENTS.items()})


STACK_USE = "push rax\npop rcx\nvmmcall"
STACKS_64 = {
    "no attributes": guest(Mode.LONG, STACK_USE, ss__attrib=0, intercept_exceptions=CATCH),
    "usual attributes": guest(Mode.LONG, STACK_USE, intercept_exceptions=CATCH),
    "RSP is not canonical": guest(Mode.LONG, STACK_USE, rsp=1 << 62, intercept_exceptions=CATCH),
}


@requirement("SVM-15.5.1-042")
@executes(runs(STACKS_64))
def test_stack_of_64_bit_mode_is_present(ran: Seen) -> None:
    """In 64-bit mode SS is used whatever its attributes are, with P=0, too."""
    codes = exit_codes(ran, STACKS_64)
    assert codes.pop("RSP is not canonical") in (STACK_FAULT, GP), "no use of the stack ends this guest"
    assert codes == dict.fromkeys(codes, VMMCALL)


GDT = HERE + places.PAGE
DESCRIPTORS = bytes(8) + (0x00CF_9300_0000_FFFF).to_bytes(8, "little")


def loads_es(mode: Mode, selector: int) -> Guest:
    """A guest with a GDT of its own that loads ES."""
    code = f"mov eax, {selector}\nmov es, ax\nvmmcall"
    changes = {"gdtr__base": GDT, "gdtr__limit": len(DESCRIPTORS) - 1, "intercept_exceptions": CATCH}
    return guest(mode, code, **changes).having({GDT: DESCRIPTORS})


LOADED = {f"{mode.value}, {n}": loads_es(mode, n) for mode in (Mode.PROTECTED, Mode.LONG) for n in (0, 8)}


@requirement("SVM-15.5.1-040")
@executes(runs(LOADED))
def test_null_segment_is_stored_as_not_present(ran: Seen) -> None:
    """After a guest has loaded ES with a null selector the VMCB's ES has P=0, and with another selector P=1."""
    each_ends(ran, dict.fromkeys(LOADED, VMMCALL))
    seen = [(ran.vmrun(name).after.es.selector, bool(ran.vmrun(name).after.es.attrib & P)) for name in LOADED]
    assert seen == [(0, False), (8, True)] * 2
