"""What #VMEXIT writes to the VMCB, what it must leave alone, and which values can stand there afterwards (15.6, 15.7).

Each rule looks at one VMRUN: the VMCB before and after it. What it yields is what the processor did and must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.machine.vmcb import Vmcb
from harness.model import exits
from harness.model.cpuid import Cpuid
from harness.model.injection import Kind
from harness.model.intercepts import intercepted
from harness.model.registers import Event, Nested, Rflags, Virt
from harness.model.rule import Book, Effect, Rule, Violation, becoming, clearing
from harness.model.verdict import Verdict

_U64 = (1 << 64) - 1
_VMRUN = 3  # bytes; with an address-size prefix 4
_LONGEST = 15  # bytes of an instruction


@dataclass(frozen=True)
class Passage:
    """One VMRUN that came back: the VMCB before it, and after the #VMEXIT.

    ``host`` and ``resumed`` are the host's registers by GDB's names before VMRUN and at the first instruction after the
    #VMEXIT, as far as they are known.
    """

    before: Vmcb
    after: Vmcb
    cpuid: Cpuid
    host: Mapping[str, int] = field(default_factory=dict)
    resumed: Mapping[str, int] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The exit code."""
        return self.after["exitcode"]

    @property
    def refused(self) -> bool:
        """Whether the guest did not run, be the code -1 in 64 bits or in 32."""
        return self.after.refused


EXIT: Book[Passage] = Book(Effect.DEVIATION)
exit_rule = EXIT.rule


def exit_rules() -> tuple[Rule[Passage], ...]:
    """Every rule about #VMEXIT."""
    return EXIT.rules


def judge_exit(passage: Passage) -> Verdict:
    """Judge what one VMRUN left in its VMCB, by every rule."""
    return Verdict(*EXIT.weigh(passage))


_LOADED = ("es", "cs", "ss", "ds")
WRITTEN: frozenset[str] = frozenset(
    {
        *(f"{segment}.{part}" for segment in _LOADED for part in ("selector", "attrib", "limit", "base")),
        *(f"{table}.{part}" for table in ("gdtr", "idtr") for part in ("limit", "base")),
        *("cr0", "cr2", "cr3", "cr4", "efer", "rflags", "rip", "rsp", "rax", "dr6", "dr7", "cpl"),
        *("vintr", "interrupt_state", "exitcode", "exitinfo1", "exitinfo2", "exitintinfo", "eventinj"),
    }
)
"""What every #VMEXIT writes (SVM-15.6-002 to -005, -020). The rest it must leave alone, but for what features add."""

KEPT = (
    *("intercept_cr_read", "intercept_cr_write", "intercept_dr_read", "intercept_dr_write", "intercept_exceptions"),
    *("intercept_misc1", "intercept_misc2", "intercept_misc3", "pause_filter_threshold", "pause_filter_count"),
    *("iopm_base_pa", "msrpm_base_pa", "tsc_offset", "guest_asid", "tlb_control", "nested_control", "n_cr3"),
    *("avic_apic_bar", "avic_backing_page", "avic_logical_table", "avic_physical_table", "virt_enables", "vmcb_clean"),
)
"""What a guest cannot change, and #VMEXIT does not write (SVM-15.5.1-036)."""

VMLOAD_SET = (
    *(
        f"{segment}.{part}"
        for segment in ("fs", "gs", "ldtr", "tr")
        for part in ("selector", "attrib", "limit", "base")
    ),
    *("star", "lstar", "cstar", "sfmask", "kernel_gs_base", "sysenter_cs", "sysenter_esp", "sysenter_eip"),
)
"""What VMSAVE writes, and #VMEXIT does not (SVM-15.5.1-016)."""


@exit_rule("SVM-C-001", "SVM-C-002", permits=("SVM-C-003",))
def known_code(passage: Passage) -> Iterator[Violation]:
    """The exit code must be one of appendix C, as a 64-bit number."""
    code = passage.code
    if code not in exits.NAMES and not passage.refused:
        yield Violation("exitcode", code, "no code of appendix C")


@exit_rule("SVM-15.5.1-C-031", "SVM-C-002")
def invalid_has_64_bits(passage: Passage) -> Iterator[Violation]:
    """VMEXIT_INVALID is -1 as a 64-bit number."""
    code = passage.code
    if passage.refused and code != exits.INVALID:
        yield Violation("exitcode", code, "-1 in its low half only", becoming("exitcode", code, exits.INVALID))


@exit_rule("SVM-15.9-061", "SVM-15.7-006", "SVM-C-001")
def asked_for(passage: Passage) -> Iterator[Violation]:
    """An exit with the code of an intercept must have been asked for by that intercept."""
    code = passage.code
    # VMLOAD and VMSAVE exit by themselves where their virtualization cannot work (SVM-15.33.1-003).
    virtualized = code in (exits.VMLOAD, exits.VMSAVE) and passage.before["virt_enables"] & Virt.VMLOAD_VMSAVE
    if code <= exits.LAST_BIT and not intercepted(passage.before, code) and not virtualized:
        yield Violation("exitcode", code, f"{exits.name(code)} was not intercepted")


@exit_rule("SVM-15.25.3-001", "SVM-15.25.6-004")
def nested_fault_asked_for(passage: Passage) -> Iterator[Violation]:
    """A nested page fault needs nested paging."""
    if passage.code == exits.NPF and not passage.before["nested_control"] & Nested.NP_ENABLE:
        yield Violation("exitcode", passage.code, "NPF while nested paging was off")


@exit_rule("SVM-15.5.1-036", "SVM-15.16.1-005", "SVM-15.25.4-004", "SVM-15.14.4-003")
def control_kept(passage: Passage) -> Iterator[Violation]:
    """#VMEXIT must not write control fields that the guest cannot change."""
    yield from _changed(passage, KEPT)


@exit_rule("SVM-15.5.1-016", "SVM-15.6-002")
def vmload_set_kept(passage: Passage) -> Iterator[Violation]:
    """#VMEXIT must not write what belongs to VMSAVE."""
    if not passage.refused:  # then the save area is undefined (SVM-15.5.1-C-034)
        yield from _changed(passage, VMLOAD_SET)


@exit_rule("SVM-15.25.4-003", "SVM-15.25.8-001")
def g_pat_kept(passage: Passage) -> Iterator[Violation]:
    """Without nested paging #VMEXIT must not write G_PAT."""
    if not passage.refused and not passage.before["nested_control"] & Nested.NP_ENABLE:
        yield from _changed(passage, ("g_pat",))


@exit_rule("SVM-15.5.1-008")
def host_resumes(passage: Passage) -> Iterator[Violation]:
    """After #VMEXIT the host goes on at the instruction behind VMRUN."""
    rip, now = passage.host.get("rip"), passage.resumed.get("rip")
    if rip is not None and now is not None and (now - rip) & _U64 not in (_VMRUN, _VMRUN + 1):
        yield Violation("host.rip", now, f"VMRUN was at {rip:#x}")


@exit_rule("SVM-15.5.1-009", "SVM-15.5.1-010", "SVM-15.5.1-012", "SVM-15.5.1-013")
def host_restored(passage: Passage) -> Iterator[Violation]:
    """After #VMEXIT the host's RAX, RSP, CR0, CR3, CR4 and EFER are what they were."""
    for name in ("rax", "rsp", "cr0", "cr3", "cr4", "efer"):
        was, now = passage.host.get(name), passage.resumed.get(name)
        if was is not None and now is not None and now != was:
            yield Violation(f"host.{name}", now, f"it was {was:#x} at VMRUN")


@exit_rule("SVM-15.5.1-011", "SVM-15.6-014", "SVM-15.5.1-F-006")
def host_flags(passage: Passage) -> Iterator[Violation]:
    """After #VMEXIT the host's RFLAGS are what they were, with RF and VM 0."""
    was, now = passage.host.get("eflags"), passage.resumed.get("eflags")
    if was is not None and now is not None and now != was & ~(Rflags.RF | Rflags.VM):
        yield Violation("host.rflags", now, f"they were {was:#x} at VMRUN")


@exit_rule("SVM-15.6-020")
def event_cleared(passage: Passage) -> Iterator[Violation]:
    """#VMEXIT must clear EVENTINJ.V."""
    event = passage.after["eventinj"]
    if event & Event.V and not passage.refused:
        yield Violation("eventinj", event, "V is still 1: it would be injected again", clearing("eventinj", Event.V))


@exit_rule("SVM-15.7.2-003", "SVM-15.7.2-001", "SVM-15.7.2-004", "SVM-15.7.2-005", "SVM-15.7.2-006")
def interrupted_type(passage: Passage) -> Iterator[Violation]:
    """EXITINTINFO, when valid, must have type 0, 2, 3 or 4."""
    info = passage.after["exitintinfo"]
    kind = info >> 8 & 7
    if not passage.refused and info & Event.V and kind not in tuple(Kind):
        yield Violation("exitintinfo", info, f"type {kind} is reserved")


@exit_rule("SVM-15.7.1-003", "SVM-15.7.1-005", "SVM-15.7.1-008")
def next_rip(passage: Passage) -> Iterator[Violation]:
    """With NRIPS an intercepted instruction's nRIP must be the address just behind it."""
    if passage.code not in _WITH_NEXT_RIP:
        return
    rip, following = passage.after["rip"], passage.after["nrip"]
    if not 0 < (following - rip) & _U64 <= _LONGEST:
        yield Violation("nrip", following, f"it is not 1 to {_LONGEST} bytes behind RIP={rip:#x}")


@exit_rule("SVM-15.7.1-004")
def no_next_rip(passage: Passage) -> Iterator[Violation]:
    """With NRIPS nRIP must be 0 for exits that are no instruction's."""
    following = passage.after["nrip"]
    if following and passage.code in _WITHOUT_NEXT_RIP:
        yield Violation(
            "nrip", following, f"it is not 0 for {exits.name(passage.code)}", becoming("nrip", following, 0)
        )


def _changed(passage: Passage, fields: tuple[str, ...]) -> Iterator[Violation]:
    if passage.before.data == passage.after.data:
        return
    for name in fields:
        was, now = passage.before[name], passage.after[name]
        if was != now:
            yield Violation(name, now, f"it was {was:#x} before", becoming(name, now, was))


_WITH_NEXT_RIP = frozenset(
    {
        *range(exits.CR_READ, exits.EXCEPTION),
        exits.CR0_SEL_WRITE,
        *range(0x66, 0x7D),
        *range(exits.VMRUN, exits.EFER_WRITE_TRAP),
        *range(0xA0, exits.BUSLOCK),
        exits.IDLE_HLT,
    }
)
"""Exits of an instruction that was intercepted before it did anything."""

_WITHOUT_NEXT_RIP = frozenset(
    {
        *(exits.EXCEPTION + n for n in range(32) if n not in (1, 3, 4, 5)),
        *range(exits.INTR, exits.CR0_SEL_WRITE),
        *(exits.NPF, exits.SHUTDOWN),
    }
)
"""Exits of events; #DB, which ICEBP also raises, is left out, and so are INT3, INTO and BOUND."""
