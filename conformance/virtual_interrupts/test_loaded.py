"""What VMRUN loads for virtual interrupts: V_TPR, V_IRQ, the interrupt shadow (15.5.1)."""

from conformance.event_injection.guests import NOTHING, OWN_CODE, Tables, taken
from conformance.vmrun.guests import VMMCALL, each_ends
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1, Rflags, Vintr

HOST_TPR = 3
VECTOR = 0x80
PRIORITY = 0xF << 16


def reads_tpr(vintr: int) -> Visit:
    """The guest reports CR8 in RCX, the host its own in R9."""
    it = guest(Mode.LONG, "mov rcx, cr8\nvmmcall", vintr=vintr)
    return Visit(it, before=f"mov r9d, {HOST_TPR}\nmov cr8, r9", after="mov r9, cr8\nxor r8d, r8d\nmov cr8, r8")


TPRS = {"5": (5 | Vintr.V_INTR_MASKING, 5), "9": (9 | Vintr.V_INTR_MASKING, 9), "not virtual": (5, HOST_TPR)}


@requirement("SVM-15.5.1-026")
@executes(visits({name: reads_tpr(vintr) for name, (vintr, _) in TPRS.items()}))
def test_v_tpr_is_loaded(ran: Seen) -> None:
    """With V_INTR_MASKING=1 the guest's CR8 is the VMCB's V_TPR, and with 0 the host's; the host keeps its own."""
    for name, (_, tpr) in TPRS.items():
        seen = registers(ran, name)
        assert (seen["rcx"], seen["r9"]) == (tpr, HOST_TPR), name


def interruptible(pending: bool, *, intercepted: bool, shadow: bool = False) -> Guest:
    """A guest with RFLAGS.IF=1, for which a virtual interrupt may be pending."""
    return Tables().guest(
        0,
        "nop\nnop\n" + OWN_CODE,
        rflags=Rflags.IF | 2,
        intercept_misc1=Misc1.SHUTDOWN | (Misc1.VINTR if intercepted else 0),
        vintr=(Vintr.V_IRQ if pending else 0) | PRIORITY | VECTOR << 32,
        interrupt_state=int(shadow),
    )


PENDING = {
    "pending": interruptible(True, intercepted=True),
    "not pending": interruptible(False, intercepted=True),
    "pending, taken": interruptible(True, intercepted=False),
    "not pending, not taken": interruptible(False, intercepted=False),
}


@requirement("SVM-15.5.1-053")
@executes({"": vmruns(PENDING)})
def test_v_irq_is_loaded(ran: Seen) -> None:
    """With V_IRQ=1 the guest is interrupted: exit VINTR where that is intercepted, and else its handler runs."""
    each_ends(ran, {"pending": exits.VINTR, "not pending": VMMCALL})
    assert [taken(ran, name) for name in ("pending, taken", "not pending, not taken")] == [VECTOR, NOTHING]


SHADOWS = {
    "no shadow": interruptible(True, intercepted=True),
    "shadow": interruptible(True, intercepted=True, shadow=True),
}


@requirement("SVM-15.5.1-027")
@executes({"": vmruns(SHADOWS)})
def test_interrupt_shadow_is_loaded(ran: Seen) -> None:
    """With INTERRUPT_SHADOW=1 a virtual interrupt waits until the guest's first instruction is complete."""
    each_ends(ran, dict.fromkeys(SHADOWS, exits.VINTR))
    assert [ran.vmrun(name).after.rip - ran.vmrun(name).before.rip for name in SHADOWS] == [0, 1]
