"""States on both sides of the boundary of every rule of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness import model
from harness.model import Outcome, Processor, State
from harness.model.cpuid import CR4_BITS, EFER_BITS, Cpuid
from harness.model.guests import Mode, guest
from harness.model.registers import Cr0, Cr4, Efer, Misc1, Nested, Rflags, Vintr

States = st.SearchStrategy[State]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
"""For a machine under load: how long an example takes says nothing."""
ALL = 0xFFFF_FFFF
PAGE = 0x1000
WIDTH, PLAIN_WIDTH = 48, 40

EVERYTHING = Cpuid.of(
    {
        **{0: (7, 0, 0, 0), 1: (0, 0, ALL, ALL), 7: (0, ALL, ALL, ALL)},
        **{0x8000_0000: (0x8000_0022, 0, 0, 0), 0x8000_0001: (0, 0, ALL, ALL)},
        **{0x8000_0008: (WIDTH, ALL & ~(1 << 20), 0, 0), 0x8000_000A: (1, 16, ALL, ALL)},
        **{0x8000_001F: (0, 0, 0, 0), 0x8000_0021: (ALL, 0, 0, 0), 0x8000_0022: (ALL, 0, 0, 0)},
    }
)
"""A processor with every feature but encrypted guests."""

PLAIN = Cpuid.of(
    {
        **{0: (1, 0, 0, 0), 1: (0, 0, 0, 0x0781_ABFF), 0x8000_0000: (0x8000_000A, 0, 0, 0)},
        **{0x8000_0001: (0, 0, 1 << 2, 1 << 29 | 1 << 20 | 1 << 11), 0x8000_0008: (PLAIN_WIDTH, 1 << 20, 0, 0)},
        0x8000_000A: (1, 2, 0, 0),
    }
)
"""The least that a processor with SVM has: no optional feature, two ASIDs."""

HOST = replace(model.HOST, cpuid=EVERYTHING, vm_hsave_pa=PAGE, u_cet=0)
PLAIN_HOST = replace(HOST, cpuid=PLAIN)
HOSTS = {"everything": HOST, "plain": PLAIN_HOST}
PDPTES = (0x3001, 0x4001, 0, 0x5019)


def state(mode: Mode = Mode.LONG, nested: bool = False, host: Processor = HOST, **fields: int) -> State:
    """A legal state but for the changes."""
    return State(host, rax=PAGE, vmcb=guest(mode, nested, **fields), pdptes=PDPTES)


def bits(*numbers: int) -> st.SearchStrategy[int]:
    """Any of these bits, at least one."""
    return st.sets(st.sampled_from(numbers), min_size=1).map(lambda some: sum(1 << n for n in some))


def some(mask: int) -> st.SearchStrategy[int]:
    """Any of the bits of a mask, or none."""
    numbers = [n for n in range(64) if mask >> n & 1]
    return st.sets(st.sampled_from(numbers)).map(lambda chosen: sum(1 << n for n in chosen))


def of(
    mode: Mode | st.SearchStrategy[Mode] = Mode.LONG, nested: bool = False, host: Processor = HOST, **fields: object
) -> States:
    """States with these fields, each a number or a strategy for one."""
    drawn = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    modes = mode if isinstance(mode, st.SearchStrategy) else st.just(mode)
    return st.builds(lambda chosen, values: state(chosen, nested, host, **values), modes, st.fixed_dictionaries(drawn))


def with_host(**fields: st.SearchStrategy[int] | int) -> States:
    """States with these registers of the host."""
    drawn = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    return st.fixed_dictionaries(drawn).map(lambda values: replace(state(), host=replace(HOST, **values)))  # type: ignore[arg-type]


def with_rax(value: st.SearchStrategy[int], **host: int) -> States:
    """States with another rAX."""
    return value.map(lambda rax: replace(state(host=replace(HOST, **host)), rax=rax))  # type: ignore[arg-type]


ANY_MODE = st.sampled_from(Mode)
WORD = st.integers(0, (1 << 64) - 1)
HIGH = bits(*range(32, 64))
LONG_CR0 = Cr0.PG | Cr0.PE | Cr0.ET
LIMIT = 1 << WIDTH
V = 1 << 31


def event(kind: int, vector: st.SearchStrategy[int] | int, rest: int = V) -> st.SearchStrategy[int]:
    """Requests for an event, with any error code or none."""
    vectors = vector if isinstance(vector, st.SearchStrategy) else st.just(vector)
    errors = st.one_of(st.just(0), st.integers(0, ALL).map(lambda code: code << 32 | 1 << 11))
    return st.builds(lambda v, error: rest | kind << 8 | v | error, vectors, errors)


VECTOR = st.integers(0, 255)
NO_EXCEPTION = st.sampled_from((9, 15, 20, 22, 23, 24, 25, 26, 27, 31))
EXCEPTION = st.sampled_from((0, 1, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 30))
ABOVE_31 = st.integers(32, 255)
NOT_NESTED_HOST = replace(HOST, efer=Efer.SVME, cr0=Cr0.PE)
PAT_TYPE = st.sampled_from((0, 1, 4, 5, 6, 7))


def pat(*types: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    return st.tuples(*types).flatmap(st.permutations).map(lambda entries: int.from_bytes(bytes(entries), "little"))


@dataclass(frozen=True)
class Edge:
    """States on both sides of a rule's boundary, and what the rule makes of the bad ones."""

    bad: States
    good: States
    outcome: Outcome = Outcome.INVALID


UNDEFINED = Outcome.UNDEFINED
EDGES: dict[str, Edge] = {
    "svm_absent": Edge(of(host=replace(HOST, cpuid=Cpuid.of({0x8000_0000: (0x8000_0000, 0, 0, 0)}))), of(), Outcome.UD),
    "svme_clear": Edge(
        with_host(efer=some(0xFFFF & ~Efer.SVME)), with_host(efer=some(0xFFFF).map(lambda e: e | Efer.SVME)), Outcome.UD
    ),
    "not_protected": Edge(
        st.one_of(
            with_host(efer=int(Efer.SVME), cr0=some(0xFFFF_FFFE)),
            with_host(efer=int(Efer.SVME), cr0=int(Cr0.PE), rflags=some(0xFFFF).map(lambda f: f | Rflags.VM)),
        ),
        st.one_of(
            with_host(efer=int(Efer.SVME), cr0=some(ALL).map(lambda c: c | Cr0.PE), rflags=some(0xFFFF)),
            with_host(efer=Efer.SVME | Efer.LMA, cr0=LONG_CR0),
        ),
        Outcome.UD,
    ),
    "not_cpl_0": Edge(with_host(cpl=st.integers(1, 3)), with_host(cpl=0), Outcome.GP),
    "rax_unaligned": Edge(
        with_rax(st.integers(0, LIMIT - 1).filter(lambda a: a % PAGE != 0)),
        with_rax(st.integers(0, LIMIT // PAGE - 1).map(lambda n: n * PAGE)),
        Outcome.GP,
    ),
    "rax_beyond": Edge(
        with_rax(st.one_of(st.integers(LIMIT, (1 << 64) - 1), st.just(LIMIT))),
        st.one_of(
            with_rax(st.one_of(st.integers(0, LIMIT - 1), st.just(LIMIT - 1))),
            with_rax(WORD, address_bits=32),
            with_rax(WORD, address_bits=16),
        ),
        Outcome.GP,
    ),
    "efer_svme": Edge(
        of(ANY_MODE, efer=some(Efer.LME | Efer.SCE | Efer.NXE)),
        of(ANY_MODE, efer=some(Efer.LME | Efer.SCE | Efer.NXE).map(lambda e: e | Efer.SVME)),
    ),
    "nw_without_cd": Edge(
        of(cr0=some(ALL & ~Cr0.CD).map(lambda c: c | Cr0.NW)),
        st.one_of(of(cr0=some(ALL).map(lambda c: c | Cr0.CD)), of(cr0=some(ALL & ~Cr0.NW))),
    ),
    "cr0_high": Edge(of(ANY_MODE, cr0=HIGH), of(ANY_MODE, cr0=some(ALL))),
    "cr3_mbz": Edge(
        st.one_of(
            of(cr3=st.integers(LIMIT, (1 << 64) - 1)),
            of(cr3=bits(*range(WIDTH, 64))),
            of(Mode.COMPATIBILITY, cr3=LIMIT),
            of(host=PLAIN_HOST, cr3=1 << PLAIN_WIDTH),
        ),
        st.one_of(of(cr3=some(LIMIT - 1)), of(Mode.PAE, cr3=some(ALL)), of(Mode.REAL, cr3=some(ALL))),
    ),
    "cr4_reserved": Edge(
        of(ANY_MODE, cr4=bits(*(n for n in range(64) if 1 << n not in CR4_BITS))), of(ANY_MODE, cr4=some(sum(CR4_BITS)))
    ),
    "cr4_of_absent_feature": Edge(
        of(ANY_MODE, host=PLAIN_HOST, cr4=bits(11, 12, 16, 17, 18, 20, 21, 22, 23)),
        st.one_of(of(ANY_MODE, cr4=some(sum(CR4_BITS))), of(ANY_MODE, host=PLAIN_HOST, cr4=some(0x7FF))),
    ),
    "dr6_high": Edge(of(ANY_MODE, dr6=HIGH), of(ANY_MODE, dr6=some(ALL))),
    "dr7_high": Edge(of(ANY_MODE, dr7=HIGH), of(ANY_MODE, dr7=some(ALL))),
    "efer_reserved": Edge(
        of(ANY_MODE, efer=bits(*(n for n in range(64) if 1 << n not in EFER_BITS))),
        of(ANY_MODE, efer=some(sum(EFER_BITS))),
    ),
    "efer_of_absent_feature": Edge(
        of(ANY_MODE, host=PLAIN_HOST, efer=bits(13, 14, 15, 17, 18, 20, 21)),
        st.one_of(
            of(ANY_MODE, efer=some(sum(EFER_BITS) & ~Efer.LMSLE)),
            of(ANY_MODE, host=PLAIN_HOST, efer=some(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME)),
        ),
    ),
    "no_long_mode": Edge(
        of(
            Mode.REAL,
            host=replace(HOST, cpuid=Cpuid.of({0x8000_0000: (0x8000_0001, 0, 0, 0), 0x8000_0001: (0, 0, 4, 0)})),
            efer=bits(8, 10).map(lambda e: e | Efer.SVME),
        ),
        of(Mode.REAL, efer=some(Efer.LME | Efer.LMA).map(lambda e: e | Efer.SVME)),
    ),
    "long_mode_without_pae": Edge(
        of(cr4=some(sum(CR4_BITS) & ~Cr4.PAE), efer=some(Efer.LMA).map(lambda e: e | Efer.LME | Efer.SVME)),
        st.one_of(
            of(cr4=some(sum(CR4_BITS)).map(lambda c: c | Cr4.PAE)),
            of(cr4=0, efer=Efer.SVME | Efer.LMA),
            of(cr4=0, cr0=int(Cr0.PE)),
        ),
    ),
    "long_mode_without_protection": Edge(
        of(
            cr0=some(ALL & ~Cr0.PE).map(lambda c: c | Cr0.PG),
            efer=some(Efer.LMA).map(lambda e: e | Efer.LME | Efer.SVME),
        ),
        st.one_of(of(Mode.PAGED_REAL), of(cr0=0), of(Mode.PAGED_REAL, efer=Efer.SVME | Efer.LMA), of(cr0=LONG_CR0)),
    ),
    "l_and_d": Edge(
        of(
            cs__attrib=some(0xFFF).map(lambda a: a | 0x600), efer=some(Efer.LMA).map(lambda e: e | Efer.LME | Efer.SVME)
        ),
        st.one_of(
            of(cs__attrib=some(0xBFF)),
            of(cs__attrib=some(0xDFF)),
            of(cs__attrib=0x69B, efer=Efer.SVME | Efer.LMA),
            of(cs__attrib=0x69B, cr0=int(Cr0.PE)),
            of(cs__attrib=0x69B, cr4=0),
        ),
    ),
    "s_cet_reserved": Edge(
        of(ANY_MODE, s_cet=bits(*range(2, 64))), st.one_of(of(s_cet=some(3)), of(host=PLAIN_HOST, s_cet=WORD))
    ),
    "cet_without_wp": Edge(
        of(cr4=Cr4.CET | Cr4.PAE, cr0=LONG_CR0),
        st.one_of(of(cr4=Cr4.CET | Cr4.PAE, cr0=LONG_CR0 | Cr0.WP), of(cr0=LONG_CR0)),
    ),
    "user_shadow_stack_in_v86": Edge(
        of(Mode.V86, host=replace(HOST, u_cet=1), cr4=int(Cr4.CET), cr0=Cr0.PE | Cr0.WP),
        st.one_of(
            of(Mode.V86, cr4=int(Cr4.CET), cr0=Cr0.PE | Cr0.WP),
            of(Mode.PROTECTED, host=replace(HOST, u_cet=1), cr4=int(Cr4.CET), cr0=Cr0.PE | Cr0.WP),
            of(Mode.V86, host=replace(HOST, u_cet=1)),
        ),
    ),
    "pdpte_reserved": Edge(
        bits(1, 2, 5, 6, 7, 8, *range(WIDTH, 64)).map(lambda b: replace(state(Mode.PAE), pdptes=(0, b | 1, 0, 0))),
        st.one_of(
            some((LIMIT - 1) & ~0x1E6).map(lambda b: replace(state(Mode.PAE), pdptes=(0, b | 1, 0, 0))),
            WORD.map(lambda b: replace(state(Mode.PAE), pdptes=(b & ~1, 0, 0, 0))),
            WORD.map(lambda b: replace(state(Mode.PAE, nested=True), pdptes=(b, 0, 0, 0))),
            WORD.map(lambda b: replace(state(Mode.PAGED), pdptes=(b, 0, 0, 0))),
        ),
    ),
    "paged_real_mode": Edge(
        of(Mode.PAGED_REAL, intercept_exceptions=some(ALL & ~(1 << 14))),
        st.one_of(of(Mode.PAGED_REAL), of(intercept_exceptions=0), of(Mode.REAL)),
        UNDEFINED,
    ),
    "vmrun_intercept": Edge(
        of(ANY_MODE, intercept_misc2=some(ALL & ~1)), of(ANY_MODE, intercept_misc2=some(ALL).map(lambda i: i | 1))
    ),
    "msrpm_beyond": Edge(
        of(msrpm_base_pa=st.one_of(st.integers(LIMIT - 0x1000, (1 << 64) - 1), st.just(LIMIT - 0x1000))),
        of(msrpm_base_pa=st.one_of(st.integers(0, LIMIT - 0x1001), st.just(LIMIT - 0x1001))),
    ),
    "iopm_beyond": Edge(
        of(iopm_base_pa=st.one_of(st.integers(LIMIT - 0x2000, (1 << 64) - 1), st.just(LIMIT - 0x2000))),
        of(iopm_base_pa=st.one_of(st.integers(0, LIMIT - 0x2001), st.just(LIMIT - 0x2001))),
    ),
    "asid_zero": Edge(of(ANY_MODE, guest_asid=0), of(ANY_MODE, guest_asid=st.integers(1, ALL))),
    "asid_beyond": Edge(
        st.one_of(of(guest_asid=st.integers(16, ALL)), of(host=PLAIN_HOST, guest_asid=2)),
        st.one_of(of(guest_asid=st.integers(1, 15)), of(host=PLAIN_HOST, guest_asid=1)),
        UNDEFINED,
    ),
    "vnmi_without_intercept": Edge(
        of(vintr=some(0x100_0F00).map(lambda v: v | Vintr.V_NMI_ENABLE), intercept_misc1=some(ALL & ~Misc1.NMI)),
        st.one_of(
            of(vintr=int(Vintr.V_NMI_ENABLE), intercept_misc1=int(Misc1.NMI)),
            of(vintr=0),
            of(host=PLAIN_HOST, vintr=int(Vintr.V_NMI_ENABLE)),
        ),
    ),
    "x2avic_without_avic": Edge(
        of(Mode.LONG, True, vintr=int(Vintr.X2AVIC_ENABLE)),
        st.one_of(
            of(Mode.LONG, True, vintr=Vintr.X2AVIC_ENABLE | Vintr.AVIC_ENABLE),
            of(host=PLAIN_HOST, vintr=int(Vintr.X2AVIC_ENABLE)),
            of(vintr=0),
        ),
    ),
    "avic_without_nested_paging": Edge(
        of(vintr=int(Vintr.AVIC_ENABLE)),
        of(Mode.LONG, True, vintr=int(Vintr.AVIC_ENABLE)),
        UNDEFINED,
    ),
    "avic_address": Edge(
        st.sampled_from(("avic_backing_page", "avic_logical_table", "avic_physical_table")).flatmap(
            lambda name: of(Mode.LONG, True, HOST, vintr=int(Vintr.AVIC_ENABLE), **{name: st.just(LIMIT)})
        ),
        st.one_of(
            of(Mode.LONG, True, vintr=int(Vintr.AVIC_ENABLE), avic_backing_page=LIMIT - PAGE),
            of(Mode.LONG, True, avic_backing_page=WORD),
        ),
    ),
    "avic_index": Edge(
        st.one_of(
            of(Mode.LONG, True, vintr=int(Vintr.AVIC_ENABLE), avic_physical_table=st.integers(256, 4095)),
            of(
                Mode.LONG,
                True,
                vintr=Vintr.AVIC_ENABLE | Vintr.X2AVIC_ENABLE,
                avic_physical_table=st.integers(512, 4095),
            ),
        ),
        st.one_of(
            of(Mode.LONG, True, vintr=int(Vintr.AVIC_ENABLE), avic_physical_table=st.integers(0, 255)),
            of(Mode.LONG, True, vintr=Vintr.AVIC_ENABLE | Vintr.X2AVIC_ENABLE, avic_physical_table=st.integers(0, 511)),
            of(Mode.LONG, True, avic_physical_table=4095),
        ),
    ),
    "reserved_type": Edge(
        st.sampled_from((1, 5, 6, 7)).flatmap(lambda kind: of(ANY_MODE, eventinj=event(kind, VECTOR))),
        st.one_of(
            st.sampled_from((0, 2, 3, 4)).flatmap(lambda kind: of(ANY_MODE, eventinj=event(kind, VECTOR))),
            st.integers(0, 7).flatmap(lambda kind: of(ANY_MODE, eventinj=event(kind, VECTOR, 0))),
        ),
    ),
    "exception_nmi": Edge(
        of(ANY_MODE, eventinj=event(3, 2)),
        st.one_of(of(eventinj=event(2, VECTOR)), of(eventinj=event(3, EXCEPTION)), of(eventinj=event(3, 2, 0))),
    ),
    "exception_above_31": Edge(
        of(ANY_MODE, eventinj=event(3, ABOVE_31)),
        st.one_of(
            of(eventinj=event(3, st.integers(0, 31))), of(eventinj=event(0, VECTOR)), of(eventinj=event(3, VECTOR, 0))
        ),
    ),
    "exception_reserved": Edge(
        of(ANY_MODE, eventinj=event(3, NO_EXCEPTION)),
        st.one_of(of(eventinj=event(3, EXCEPTION)), of(eventinj=event(0, VECTOR)), of(eventinj=event(3, VECTOR, 0))),
    ),
    "impossible_in_64_bit_mode": Edge(
        of(Mode.LONG, eventinj=event(3, st.sampled_from((4, 5)))),
        st.one_of(
            of(Mode.COMPATIBILITY, eventinj=event(3, st.sampled_from((4, 5)))),
            of(Mode.REAL, eventinj=event(3, st.sampled_from((4, 5)))),
            of(Mode.LONG, eventinj=event(3, EXCEPTION)),
            of(Mode.LONG, eventinj=event(3, 5, 0)),
        ),
    ),
    "exception_of_absent_feature": Edge(
        st.one_of(of(host=PLAIN_HOST, eventinj=event(3, 21)), of(eventinj=event(3, st.sampled_from((28, 29))))),
        st.one_of(of(eventinj=event(3, 21)), of(host=PLAIN_HOST, eventinj=event(3, EXCEPTION))),
        UNDEFINED,
    ),
    "software_interrupt": Edge(
        of(ANY_MODE, host=PLAIN_HOST, eventinj=event(4, VECTOR)),
        st.one_of(of(eventinj=event(4, VECTOR)), of(host=PLAIN_HOST, eventinj=event(0, VECTOR))),
        UNDEFINED,
    ),
    "reserved_bits": Edge(
        of(eventinj=bits(*range(12, 31)).map(lambda e: e | V | 0x20)),
        st.one_of(of(eventinj=event(0, VECTOR)), of(eventinj=some(V - 1))),
        UNDEFINED,
    ),
    "host_paging_off": Edge(
        of(Mode.REAL, True, host=NOT_NESTED_HOST),
        st.one_of(
            of(Mode.REAL, True, host=replace(NOT_NESTED_HOST, cr0=Cr0.PE | Cr0.PG)),
            of(Mode.REAL, True),
            of(Mode.REAL, host=NOT_NESTED_HOST),
        ),
    ),
    "nested_paging_absent": Edge(of(ANY_MODE, True, host=PLAIN_HOST), st.one_of(of(ANY_MODE, True), of()), UNDEFINED),
    "n_cr3_mbz": Edge(
        of(ANY_MODE, True, n_cr3=st.one_of(bits(*range(WIDTH, 64)), st.integers(LIMIT, (1 << 64) - 1))),
        st.one_of(of(ANY_MODE, True, n_cr3=some(LIMIT - 1)), of(ANY_MODE, n_cr3=WORD)),
    ),
    "g_pat_types": Edge(
        of(ANY_MODE, True, g_pat=pat(*[PAT_TYPE] * 7, VECTOR.filter(lambda t: t not in (0, 1, 4, 5, 6, 7)))),
        st.one_of(of(ANY_MODE, True, g_pat=pat(*[PAT_TYPE] * 8)), of(ANY_MODE, g_pat=WORD)),
    ),
    "sss_check_without_nested_paging": Edge(
        of(nested_control=int(Nested.SSS_CHECK)),
        st.one_of(
            of(Mode.LONG, True, nested_control=Nested.SSS_CHECK | Nested.NP_ENABLE),
            of(host=PLAIN_HOST, nested_control=int(Nested.SSS_CHECK)),
        ),
    ),
    "feature_absent": Edge(
        st.one_of(
            of(host=PLAIN_HOST, nested_control=bits(1, 2, 3, 4, 6, 7)),
            of(host=PLAIN_HOST, virt_enables=bits(0, 1, 2, 3)),
            of(host=PLAIN_HOST, vintr=bits(25, 26, 30, 31)),
        ),
        st.one_of(
            of(Mode.LONG, True, nested_control=some(0xD9).map(lambda n: n | 1)),
            of(virt_enables=some(15)),
            of(vintr=some(Vintr.V_GIF_ENABLE | Vintr.V_NMI_ENABLE | Vintr.AVIC_ENABLE)),
            of(host=PLAIN_HOST, vintr=some(Vintr.V_INTR_MASKING | Vintr.V_IRQ)),
        ),
        UNDEFINED,
    ),
    "tlb_control": Edge(
        st.one_of(
            of(tlb_control=st.integers(0, 255).filter(lambda t: t not in (0, 1, 3, 7))),
            of(host=PLAIN_HOST, tlb_control=st.integers(2, 255)),
        ),
        st.one_of(of(tlb_control=st.sampled_from((0, 1, 3, 7))), of(host=PLAIN_HOST, tlb_control=st.integers(0, 1))),
        UNDEFINED,
    ),
    "encrypted": Edge(
        of(
            host=replace(HOST, cpuid=Cpuid((*EVERYTHING.known, (0x8000_001F, "EAX", ALL, ALL)))),
            nested_control=bits(1, 2, 5),
        ),
        st.one_of(of(nested_control=bits(1, 2, 5)), of(host=replace(HOST, cpuid=EVERYTHING))),
        UNDEFINED,
    ),
    "unused_bytes": Edge(
        st.sampled_from((0x18, 0x3B, 0x5E, 0x5F, 0xC4, 0xC7, 0xE8, 0x100, 0x122, 0x148, 0x170, 0x3DF)).map(
            lambda at: _with_byte(state(), at)
        ),
        st.sampled_from((0x3E0, 0x3FF, 0x4A0, 0xFFF, 0xD0)).map(lambda at: _with_byte(state(), at)),
        UNDEFINED,
    ),
    "no_host_save_area": Edge(
        with_host(vm_hsave_pa=0), with_host(vm_hsave_pa=st.integers(1, 1 << 20).map(lambda n: n * PAGE)), UNDEFINED
    ),
}


def _with_byte(one: State, at: int) -> State:
    assert one.vmcb is not None
    data = bytearray(one.vmcb.data)
    data[at] = 0x5A
    return replace(one, vmcb=type(one.vmcb)(bytes(data)))
