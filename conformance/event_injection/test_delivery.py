"""How an injected event reaches the guest (15.20): which handler runs, when, and what it finds."""

from conformance.event_injection.guests import EXCEPTION, INTERRUPT, NMI, NOTHING, SOFTWARE, Tables, pushed, taken
from conformance.gif.interrupts import source
from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode
from harness.lab.program import Program
from harness.lab.programs import program, vmruns
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.model import exits
from harness.model.registers import Event, Misc1, Vintr

UD, GP, PF, AC = 6, 13, 14, 17
CODE = 0x1234

KERNEL = Tables()
INJECTED = {
    "nothing": KERNEL.guest(0),
    "interrupt 80h": KERNEL.guest(INTERRUPT | 0x80),
    "interrupt 80h, held back": KERNEL.guest(INTERRUPT | 0x80, vintr=0xF | Vintr.V_INTR_MASKING, interrupt_state=1),
    "NMI": KERNEL.guest(NMI | 2),
    "NMI, vector FFh": KERNEL.guest(NMI | 0xFF),
    "#DE": KERNEL.guest(EXCEPTION),
    "#UD": KERNEL.guest(EXCEPTION | UD),
    **{f"#{vector}": KERNEL.guest(EXCEPTION | Event.EV | vector) for vector in (GP, AC)},
    "#GP, error code": KERNEL.guest(EXCEPTION | Event.EV | GP | CODE << 32),
    "#GP, no error code": KERNEL.guest(EXCEPTION | GP | CODE << 32),
    "#UD, intercepted": KERNEL.guest(EXCEPTION | UD, intercept_exceptions=1 << UD),
    "UD2, intercepted": KERNEL.guest(0, "ud2", intercept_exceptions=1 << UD),
    "#PF": KERNEL.guest(EXCEPTION | Event.EV | PF, cr2=0x1234_5000),
    "#PF, another CR2": KERNEL.guest(EXCEPTION | Event.EV | PF, cr2=0x5432_1000),
}
DELIVERED = {"": vmruns(INJECTED)}


@requirement("SVM-15.20-001")
@executes(DELIVERED)
def test_event_comes_before_the_first_instruction(ran: Seen) -> None:
    """With EVENTINJ.V=1 the handler runs first, and returns to the VMCB's RIP; with V=0 it does not run."""
    assert [taken(ran, name) for name in ("#UD", "nothing")] == [UD, NOTHING]
    it = ran.vmrun("#UD")
    assert it.step.registers["rcx"] == it.before.rip


@requirement("SVM-15.20-003")
@executes(DELIVERED)
def test_type_0_is_an_interrupt(ran: Seen) -> None:
    """TYPE 0 runs the handler of its vector, without an error code."""
    assert (taken(ran, "interrupt 80h"), pushed(ran, "interrupt 80h")) == (0x80, 5)
    assert taken(ran, "nothing") == NOTHING


@requirement("SVM-15.20-023")
@executes(DELIVERED)
def test_event_is_delivered_whatever_holds_interrupts_back(ran: Seen) -> None:
    """An interrupt is injected with RFLAGS.IF=0, V_TPR=15 and in an interrupt shadow."""
    assert taken(ran, "interrupt 80h, held back") == 0x80
    assert taken(ran, "nothing") == NOTHING


@requirement("SVM-15.20-004")
@executes(DELIVERED)
def test_type_2_is_an_nmi(ran: Seen) -> None:
    """TYPE 2 runs the handler of vector 2."""
    assert [taken(ran, name) for name in ("NMI", "nothing")] == [2, NOTHING]


@requirement("SVM-15.20-024")
@executes(DELIVERED)
def test_vector_of_an_nmi_is_ignored(ran: Seen) -> None:
    """TYPE 2 with another vector runs the handler of vector 2 all the same."""
    assert [taken(ran, name) for name in ("NMI, vector FFh", "nothing")] == [2, NOTHING]


@requirement("SVM-15.20-005")
@executes(DELIVERED)
def test_type_3_is_an_exception(ran: Seen) -> None:
    """TYPE 3 runs the handler of its vector."""
    assert [taken(ran, name) for name in ("#DE", "#UD", "#13", "#17")] == [0, UD, GP, AC]


@requirement("SVM-15.20-012")
@executes(DELIVERED)
def test_error_code_is_pushed(ran: Seen) -> None:
    """With EV=1 the handler finds EVENTINJ[63:32] on its stack."""
    assert taken(ran, "#GP, error code") == taken(ran, "#13") == GP
    assert [ran.vmrun(name).step.registers["rcx"] for name in ("#GP, error code", "#13")] == [CODE, 0]


@requirement("SVM-15.20-026")
@executes(DELIVERED)
def test_no_error_code_is_pushed_without_ev(ran: Seen) -> None:
    """With EV=0 no error code is pushed, not even for #GP: the return address is on top of the stack."""
    assert taken(ran, "#GP, no error code") == GP
    assert [pushed(ran, name) for name in ("#GP, no error code", "#GP, error code")] == [5, 6]


@requirement("SVM-15.20-013")
@executes(DELIVERED)
def test_event_is_not_intercepted(ran: Seen) -> None:
    """An injected #UD reaches the handler though #UD is intercepted, and UD2 is."""
    assert taken(ran, "#UD, intercepted") == UD
    assert ran.vmrun("UD2, intercepted").exit == exits.EXCEPTION + UD


@requirement("SVM-15.20-022")
@executes(DELIVERED)
def test_cr2_of_an_injected_page_fault_is_that_of_the_vmcb(ran: Seen) -> None:
    """The handler of an injected #PF finds in CR2 what the VMCB has there."""
    for name in ("#PF", "#PF, another CR2"):
        assert taken(ran, name) == PF
        assert hex(ran.vmrun(name).step.registers["rsi"]) == hex(ran.vmrun(name).before.cr2)


INT_80 = {
    "gate of CPL 0": KERNEL.guest(SOFTWARE | 0x80, nrip=0x0123_4567),
    "another nRIP": KERNEL.guest(SOFTWARE | 0x80, nrip=0x0765_4321),
}
USERS = {
    "gate of CPL 3, from CPL 3": Tables(places.DATA + 0x1_0000, cpl=3, gate_dpl=3),
    "gate of CPL 0, from CPL 3": Tables(places.DATA + 0x2_0000, cpl=3),
}
INT_80_OF_USER = {name: it.guest(SOFTWARE | 0x80, intercept_exceptions=1 << GP) for name, it in USERS.items()}
SOFTWARE_INTERRUPTS = {"": vmruns(INT_80 | INT_80_OF_USER)}


@requirement("SVM-15.20-006")
@executes(SOFTWARE_INTERRUPTS)
def test_type_4_is_a_software_interrupt(ran: Seen) -> None:
    """TYPE 4 runs the handler of its vector."""
    assert taken(ran, "gate of CPL 0") == 0x80


@requirement("SVM-15.20-025")
@executes(SOFTWARE_INTERRUPTS)
def test_software_interrupt_needs_a_gate_for_its_cpl(ran: Seen) -> None:
    """TYPE 4 at CPL 3 raises #GP where the gate has DPL 0, and runs the handler where it has DPL 3."""
    assert taken(ran, "gate of CPL 3, from CPL 3") == 0x80
    assert ran.vmrun("gate of CPL 0, from CPL 3").exit == exits.EXCEPTION + GP


@requirement("SVM-15.20-027")
@executes(SOFTWARE_INTERRUPTS)
def test_software_interrupt_returns_to_nrip(ran: Seen) -> None:
    """TYPE 4 pushes the VMCB's nRIP as the return address."""
    assert [taken(ran, name) for name in INT_80] == [0x80, 0x80]
    assert [hex(ran.vmrun(name).step.registers["rcx"]) for name in INT_80] == ["0x1234567", "0x7654321"]


OF_USER_32 = {
    dpl: Tables(places.DATA + 0x1_0000 * n, Mode.PROTECTED, cpl=3, gate_dpl=dpl) for n, dpl in ((3, 0), (4, 3))
}
TRAPS = {"INT3": 3, "INTO": 4}
FROM_CPL_3 = {
    f"{name}, gate of CPL {dpl}": tables.guest(EXCEPTION | vector, intercept_exceptions=1 << GP)
    for name, vector in TRAPS.items()
    for dpl, tables in OF_USER_32.items()
}


@requirement("SVM-15.20-017")
@executes({"": vmruns(FROM_CPL_3)})
def test_int3_and_into_need_a_gate_for_their_cpl(ran: Seen) -> None:
    """TYPE 3 with vector 3 or 4 at CPL 3 raises #GP where the gate has DPL 0, and not where it has DPL 3."""
    each_ends(ran, {name: VMMCALL if "CPL 3" in name else exits.EXCEPTION + GP for name in FROM_CPL_3})
    assert [taken(ran, f"{name}, gate of CPL 3") for name in TRAPS] == list(TRAPS.values())


SHORT_IDT = {
    "#GP intercepted": KERNEL.guest(EXCEPTION | UD, vectors=UD, intercept_exceptions=1 << GP),
    "IDT long enough": KERNEL.guest(EXCEPTION | UD, vectors=GP, intercept_exceptions=1 << GP),
}


@requirement("SVM-15.20-014")
@executes({"": vmruns(SHORT_IDT)})
def test_exception_during_the_delivery_is_intercepted(ran: Seen) -> None:
    """When the IDT is too short for the injected event, #GP is raised and intercepted."""
    each_ends(ran, {"#GP intercepted": exits.EXCEPTION + GP, "IDT long enough": VMMCALL})


@requirement("SVM-15.20-015")
@executes({"": vmruns(SHORT_IDT)})
def test_interrupted_event_is_in_exitintinfo(ran: Seen) -> None:
    """An exit during the delivery of the injected event leaves the event in EXITINTINFO, and one after it does not."""
    assert hex(ran.vmrun("#GP intercepted").after.exitintinfo) == hex(EXCEPTION | UD)
    assert ran.vmrun("IDT long enough").after.exitintinfo & Event.V == 0


TIMES = 8
"""How often each is run: an engine that decides by chance does not pass by chance."""


def with_nmi_pending(sends: str) -> Program:
    """A guest that is intercepted at NMI begins with an injected one; the host may have sent another before."""
    it = KERNEL.guest(NMI | 2, intercept_misc1=Misc1.SHUTDOWN | Misc1.NMI)
    guests = {places.VMCBS + n * places.PAGE: it for n in range(TIMES)}
    runs = [
        code(source(f"clgi\n{sends}\nmov eax, {at:#x}\nvmrun\nstgi\nwait_a_little"), vmcb=at, name=f"VMRUN {n}")
        for n, at in enumerate(guests)
    ]
    return program(*enable_svm(), *runs, guests=guests)


PENDING, NOT_PENDING = with_nmi_pending("send_nmi"), with_nmi_pending("wait_a_little")


@requirement("SVM-15.20-016")
@executes({"pending": PENDING, "not pending": NOT_PENDING})
def test_injected_nmi_blocks_none(ran: Seen) -> None:
    """An NMI that is pending is intercepted in the handler of an injected one, before its IRET."""
    expected = exits.NMI if ran.program == PENDING else VMMCALL
    for it in ran.vmruns():
        assert it.after.exitcode == expected, it.name
        assert it.after.rsp < it.before.rsp, f"{it.name}: the injected one was not delivered"
