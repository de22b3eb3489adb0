"""What EXITINFO1, EXITINFO2 and the decode assists can hold after a #VMEXIT (15.8 to 15.14, 15.25.6)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model import exits
from harness.model.registers import Vintr
from harness.model.rule import Violation, becoming, clearing
from harness.model.saves import Passage, exit_rule

_U64 = (1 << 64) - 1
_LONGEST = 15
"""Bytes of an instruction, at most."""


@exit_rule("SVM-15.8-011", "SVM-15.8-010")
def no_bytes_fetched(passage: Passage) -> Iterator[Violation]:
    """With decode assists the number of bytes fetched must be 0 but for page faults."""
    count = passage.after["bytes_fetched"]
    if count & 0xF and passage.code not in (exits.NPF, exits.EXCEPTION + 14) and not passage.refused:
        change = becoming("bytes_fetched", count, 0)
        yield Violation("bytes_fetched", count, f"it is not 0 for {exits.name(passage.code)}", change)


@exit_rule("SVM-15.8-008", "SVM-15.8-009")
def bytes_fetched(passage: Passage) -> Iterator[Violation]:
    """With decode assists at most 15 bytes of the instruction are fetched."""
    count = passage.after["bytes_fetched"]
    if count > _LONGEST and passage.code in (exits.NPF, exits.EXCEPTION + 14):
        yield Violation("bytes_fetched", count, f"more than {_LONGEST}")


@exit_rule("SVM-15.10-012", "SVM-15.10-008", "SVM-15.10-009", "SVM-15.10-010", "SVM-15.10-011")
def io_size(passage: Passage) -> Iterator[Violation]:
    """Exactly one of an IOIO's operand sizes must be given."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.IOIO and exits.Io.of(info, 0).size is None:
        yield Violation("exitinfo1", info, f"the operand size in bits 6:4 is {info >> 4 & 7:03b}b")


@exit_rule("SVM-15.10-013")
def io_address_size(passage: Passage) -> Iterator[Violation]:
    """Exactly one of an IOIO's address sizes must be given."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.IOIO and exits.Io.of(info, 0).address_size is None:
        yield Violation("exitinfo1", info, f"the address size in bits 9:7 is {info >> 7 & 7:03b}b")


@exit_rule("SVM-15.10-015")
def io_next_rip(passage: Passage) -> Iterator[Violation]:
    """An IOIO's EXITINFO2 must be the address just behind the instruction."""
    rip, following = passage.after["rip"], passage.after["exitinfo2"]
    if passage.code == exits.IOIO and not 0 < (following - rip) & _U64 <= _LONGEST:
        yield Violation("exitinfo2", following, f"it is not 1 to {_LONGEST} bytes behind RIP={rip:#x}")


@exit_rule("SVM-15.11-006")
def msr_direction(passage: Passage) -> Iterator[Violation]:
    """EXITINFO1 of an MSR exit must be 0 or 1."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.MSR and info > 1:
        yield Violation("exitinfo1", info, "neither 0 (RDMSR) nor 1 (WRMSR)")


@exit_rule("SVM-15.25.6-007")
def nested_user(passage: Passage) -> Iterator[Violation]:
    """A nested page fault is always one of a user access."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.NPF and not info & 4:
        yield Violation("exitinfo1", info, "US (bit 2) is 0")


@exit_rule("SVM-15.25.6-008", "SVM-15.25.6-005", "SVM-15.25.6-006")
def nested_reserved(passage: Passage) -> Iterator[Violation]:
    """A nested page fault for a reserved bit must be one of a present entry."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.NPF and info & 8 and not info & 1:
        yield Violation("exitinfo1", info, "RSV (bit 3) is 1 while P (bit 0) is 0")


@exit_rule("SVM-15.25.6-009")
def nested_fetch(passage: Passage) -> Iterator[Violation]:
    """A nested page fault on a guest's page table is never a fetch."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.NPF and info & 16 and info >> 33 & 1:
        yield Violation("exitinfo1", info, "ID (bit 4) is 1 for a fault on a guest's page table (bit 33)")


@exit_rule("SVM-15.25.6-010")
def nested_where(passage: Passage) -> Iterator[Violation]:
    """A nested page fault is either on the final address or on a guest's page table."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.NPF and info >> 32 & 3 not in (1, 2):
        yield Violation("exitinfo1", info, f"bits 33:32 are {info >> 32 & 3:02b}b")


@exit_rule("SVM-15.8-004")
def debug_register_number(passage: Passage) -> Iterator[Violation]:
    """With decode assists EXITINFO1[63:4] must be 0 for debug registers."""
    info = passage.after["exitinfo1"]
    if exits.DR_READ <= passage.code < exits.EXCEPTION and info >> 4:
        yield Violation("exitinfo1", info, "bits 63:4 are not 0", clearing("exitinfo1", info & ~15))


@exit_rule("SVM-15.8-005")
def interrupt_number(passage: Passage) -> Iterator[Violation]:
    """With decode assists EXITINFO1[63:8] must be 0 for INTn."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.INTN and info >> 8:
        yield Violation("exitinfo1", info, "bits 63:8 are not 0", clearing("exitinfo1", info & ~255))


@exit_rule("SVM-15.12.17-001")
def alignment_error_code(passage: Passage) -> Iterator[Violation]:
    """#AC has error code 0."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.EXCEPTION + 17 and info & 0xFFFF_FFFF:
        yield Violation("exitinfo1", info, "the error code of #AC is not 0")


@exit_rule("SVM-15.12.20-001")
def security_error_code(passage: Passage) -> Iterator[Violation]:
    """#SX has error code 1."""
    info = passage.after["exitinfo1"]
    if passage.code == exits.EXCEPTION + 30 and info & 0xFFFF_FFFF != 1:
        yield Violation("exitinfo1", info, "the error code of #SX is not 1")


@exit_rule("SVM-15.14.5-002")
def bus_lock_info(passage: Passage) -> Iterator[Violation]:
    """A bus-lock exit has 0 in EXITINFO1 and EXITINFO2."""
    for field in ("exitinfo1", "exitinfo2"):
        value = passage.after[field]
        if passage.code == exits.BUSLOCK and value:
            yield Violation(field, value, "it is not 0 for BUSLOCK")


@exit_rule("SVM-15.13.5-001", permits=("SVM-15.6-003",))
def virtual_interrupt_pending(passage: Passage) -> Iterator[Violation]:
    """A VINTR exit leaves the virtual interrupt pending."""
    vintr = passage.after["vintr"]
    avic = passage.before["vintr"] & Vintr.AVIC_ENABLE
    if passage.code == exits.VINTR and not vintr & Vintr.V_IRQ and not avic:
        yield Violation("vintr", vintr, "V_IRQ is 0 though its interrupt was not taken")
