"""DebugCtl and the records of the last branch and exception: with their virtualization, and without it (15.23)."""

from conformance.intercepts.tried import NOT_RUN
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab.guest import Guest, Mode, guest
from harness.lab.seen import Seen
from harness.model.registers import Virt

DEBUG_CTL, RECORDS = 0x1D9, (0x1DB, 0x1DC, 0x1DD, 0x1DE)
FIELDS = ("br_from", "br_to", "lastexcpfrom", "lastexcpto")
LBR, BTF = 1 << 0, 1 << 1
"""DebugCtl: record branches; make single steps of branches, which without RFLAGS.TF does nothing."""

FILLED = {name: 0x10_1111 * (number + 1) for number, name in enumerate(FIELDS)}
HELD = ("r8", "r9", "r10", "r11")

READS = f"mov ecx, {DEBUG_CTL:#x}\nrdmsr\nmov ebx, eax\n"
READS_ALL = READS + "".join(
    f"mov ecx, {msr:#x}\nrdmsr\nmov {register}d, eax\n" for msr, register in zip(RECORDS, HELD, strict=True)
)
BRANCHES = "lea rsi, [rel leaves]\nlea rdi, [rel arrives]\nleaves: jmp near arrives\nnop\narrives:\n"


def writes(value: int) -> str:
    """Code that writes DebugCtl."""
    return f"mov ecx, {DEBUG_CTL:#x}\nmov eax, {value}\nxor edx, edx\nwrmsr\n"


def recording(code: str, virtual: bool, dbgctl: int) -> Guest:
    """A guest whose VMCB holds these things, whether they are in force or not."""
    return guest(
        Mode.LONG, f"{code}vmmcall", virt_enables=Virt.LBR * virtual, dbgctl=dbgctl, exitcode=NOT_RUN, **FILLED
    )


@requirement("SVM-15.23-002")
@executes(visits({"": Visit(recording(READS_ALL, True, BTF), before=writes(0))}))
def test_records_are_loaded(ran: Seen) -> None:
    """With the virtualization a guest reads in DebugCtl and the four records what its VMCB holds."""
    seen = registers(ran, "")
    assert seen["rbx"] == BTF
    assert [seen[name] for name in HELD] == list(FILLED.values())


@requirement("SVM-15.23-003")
@executes(visits({"": Visit(recording(writes(LBR) + BRANCHES, True, 0), before=writes(0))}))
def test_records_are_stored(ran: Seen) -> None:
    """With the virtualization the VMCB holds what the guest wrote in DebugCtl, and its last branch."""
    seen = registers(ran, "")
    after = ran.vmrun("").after
    assert (after.dbgctl, after.br_from, after.br_to) == (LBR, seen["rsi"], seen["rdi"])


ITS_OWN = "mov r12d, ebx\nmov r13d, r8d\nmov r14d, r9d\nmov r15d, r10d\nmov ebp, r11d\n"
KEPT = ("r12", "r13", "r14", "r15", "rbp")


@requirement("SVM-15.23-007")
@executes(
    visits(
        {
            "": Visit(
                recording(writes(LBR) + BRANCHES, True, 0), before=writes(BTF) + READS_ALL + ITS_OWN, after=READS_ALL
            )
        }
    )
)
def test_host_has_its_records_again(ran: Seen) -> None:
    """With the virtualization DebugCtl and the records of the host are after #VMEXIT as before VMRUN."""
    seen = registers(ran, "")
    assert (ran.vmrun("").after.dbgctl, seen["rbx"]) == (LBR, BTF)
    assert [seen[name] for name in ("rbx", *HELD)] == [seen[name] for name in KEPT]


@requirement("SVM-15.23-004")
@executes(visits({"": Visit(recording(writes(LBR) + BRANCHES, False, BTF), after=writes(0))}))
def test_records_of_the_vmcb_are_left_alone(ran: Seen) -> None:
    """Without the virtualization #VMEXIT does not write what the VMCB holds of them."""
    registers(ran, "")
    after = ran.vmrun("").after
    assert {name: after[name] for name in ("dbgctl", *FIELDS)} == {"dbgctl": BTF, **FILLED}


SHARED = recording(READS + "mov r8d, ebx\n" + writes(0), False, LBR)


@requirement("SVM-15.23-008")
@executes(visits({"": Visit(SHARED, before=writes(BTF), after=READS)}))
def test_debugctl_is_shared(ran: Seen) -> None:
    """Without the virtualization the guest reads the host's DebugCtl, and the host what the guest wrote there."""
    seen = registers(ran, "")
    assert (seen["r8"], seen["rbx"]) == (BTF, 0)
