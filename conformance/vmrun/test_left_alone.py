"""What VMRUN and #VMEXIT leave alone (15.5.1): the guest finds what the host left, and the host what the guest left."""

from conformance.descriptors import system_descriptor
from conformance.vmload_vmsave.state import MSRS, READ_SIZE, decoded, reading, values, writing
from conformance.vmrun.visits import A_WHILE, Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen

OF_HOST, OF_GUEST, OF_VMCB = values(0x11), values(0x22), values(0x33)
BY_GUEST, BY_HOST = places.DATA, places.DATA + 0x1000
GDT, LDT, TSS = places.DATA + 0x2000, 0x28, 0x38


TABLE = bytes(LDT) + system_descriptor(0x82, 0xFF, 0x0123_4000) + system_descriptor(0x89, 0x67, 0x0123_5000)
MOVED = visits(
    {
        "": Visit(
            guest(
                Mode.LONG,
                f"str ebx\nsldt esi\n{reading(BY_GUEST)}{writing(OF_GUEST)}"
                f"mov eax, {LDT}\nlldt ax\nmov eax, {TSS}\nltr ax\nvmmcall",
                gdtr__base=GDT, gdtr__limit=len(TABLE) - 1, tr__selector=0x78, ldtr__selector=0x70,
                **{name.replace(".", "__"): value for name, value in OF_VMCB.items()},
            ),
            before=f"str r8d\nsldt r9d\n{writing(OF_HOST)}",
            after=f"str r10d\nsldt r11d\n{reading(BY_HOST)}",
        )
    },
    memory={GDT: TABLE},
    watches={BY_GUEST: READ_SIZE, BY_HOST: READ_SIZE},
)  # fmt: skip


def stored(ran: Seen, address: int) -> dict[str, int]:
    """What was found in the MSRs and stored there."""
    return decoded(ran.memory(address, READ_SIZE, len(ran.steps) - 1))


@requirement("SVM-15.5.1-016")
@executes(MOVED)
def test_vmrun_loads_none_of_what_vmload_loads(ran: Seen) -> None:
    """The guest starts with the host's FS, GS, TR, LDTR and MSRs of system calls, whatever the VMCB has."""
    seen = registers(ran, "")
    assert stored(ran, BY_GUEST) == OF_HOST
    assert (seen["rbx"], seen["rsi"]) == (seen["r8"], seen["r9"])


@requirement("SVM-15.5.1-016")
@executes(MOVED)
def test_vmexit_restores_none_of_what_vmload_loads(ran: Seen) -> None:
    """After #VMEXIT FS, GS, TR, LDTR and those MSRs hold what the guest wrote, and the VMCB what it had before."""
    seen, after = registers(ran, ""), ran.vmrun("").after
    assert stored(ran, BY_HOST) == OF_GUEST
    assert (seen["r10"], seen["r11"]) == (TSS, LDT)
    assert {name: after[name] for name in MSRS} == OF_VMCB
    assert (after.tr.selector, after.ldtr.selector) == (0x78, 0x70)


HOSTS, GUESTS = (0x1111_2220, 0x7FFF_3333_4440, 0x5550, 0x6660), (0x7770, 0x1234_8888, 0x7000_9999_0000, 0xAAA0)
WRITES = "".join(f"mov rax, {{:#x}}\nmov dr{n}, rax\n" for n in range(4))
READS = "mov {}, dr0\nmov {}, dr1\nmov {}, dr2\nmov {}, dr3\n"
BREAKPOINTS = visits(
    {
        "": Visit(
            guest(Mode.LONG, A_WHILE + READS.format("rcx", "rdx", "rbx", "rsi") + WRITES.format(*GUESTS) + "vmmcall"),
            before=WRITES.format(*HOSTS),
            after=READS.format("r8", "r9", "r10", "r11"),
        )
    }
)


@requirement("SVM-15.5.1-049")
@executes(BREAKPOINTS)
def test_breakpoint_addresses_are_left_alone(ran: Seen) -> None:
    """The guest finds the host's DR0 to DR3, and the host after #VMEXIT the guest's."""
    seen = registers(ran, "")
    assert tuple(seen[name] for name in ("rcx", "rdx", "rbx", "rsi")) == HOSTS
    assert tuple(seen[name] for name in ("r8", "r9", "r10", "r11")) == GUESTS
