"""nRIP (0C8h), where a processor has it (15.7.1): the address of the instruction behind the one that exited, or 0."""

from dataclasses import replace

from conformance.exception_intercepts.guests import BP, BR, GP, NON_CANONICAL, OF, PF, RAISED, UD, raises
from conformance.intercepts.tried import HERE, NOWHERE, Tries, Try, tried
from conformance.io_intercepts.maps import PORT, Maps
from conformance.vmrun.guests import INVALID
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Efer, Vintr

STALE = 0x5555_AAAA
CR0_READ, CR3_WRITE, DR7_READ = exits.CR_READ, exits.CR_WRITE + 3, exits.DR_READ + 7
SIDT, RDTSC, PUSHF, IRET, WBINVD = 0x66, 0x6E, 0x70, 0x74, 0x89


def stale(insn: str, *intercepts: int, mode: Mode = Mode.LONG, rcx: int = 0) -> Try:
    """A try whose VMCB has another nRIP before."""
    return tried(insn, *intercepts, mode=mode, endless=True, nrip=STALE, rcx=rcx)


INSTRUCTIONS = {
    "MOV from CR0": (stale("mov rcx, cr0", CR0_READ), CR0_READ),
    "MOV to CR3": (stale("mov cr3, rcx", CR3_WRITE), CR3_WRITE),
    "MOV from DR7": (stale("mov rcx, dr7", DR7_READ), DR7_READ),
    "SIDT": (stale(f"sidt [{HERE:#x}]", SIDT), SIDT),
    "RDTSC": (stale("rdtsc", RDTSC), RDTSC),
    "PUSHF": (stale("pushfq", PUSHF), PUSHF),
    "CPUID": (stale("cpuid", exits.CPUID), exits.CPUID),
    "CPUID with prefixes": (stale("db 0x66, 0x3E\ncpuid", exits.CPUID), exits.CPUID),
    "CPUID in real mode": (stale("cpuid", exits.CPUID, mode=Mode.REAL), exits.CPUID),
    "HLT": (stale("hlt", exits.HLT), exits.HLT),
    "INVLPG": (stale("invlpg [rcx + 0x12345678]", exits.INVLPG), exits.INVLPG),
    "VMMCALL": (stale("vmmcall"), exits.VMMCALL),
    "VMLOAD": (stale("vmload", exits.VMLOAD), exits.VMLOAD),
    "WBINVD": (stale("wbinvd", WBINVD), WBINVD),
}
JUMPS = {
    "INTn": (stale("int 0x80", exits.INTN), exits.INTN),
    "IRET": (stale("iretq", IRET), IRET),
}
PORTS, OUTSIDE = Maps(), 0xFFFF_FFFF
"""An MSR that no map has a bit for always exits."""

MAPPED = {
    "RDMSR": (stale("rdmsr", exits.MSR, rcx=OUTSIDE), exits.MSR),
    "WRMSR": (stale("wrmsr", exits.MSR, rcx=OUTSIDE), exits.MSR),
    **{
        insn: (PORTS.tried(insn, PORT, nrip=STALE, rdx=PORT), exits.IOIO)
        for insn in ("in al, 0x80", "out dx, ax", "a32 insd", "rep outsb")
    },
}
RAISING = {
    "INT3": (replace(RAISED["#BP"], changes={**RAISED["#BP"].changes, "nrip": STALE}), BP),
    "INTO": (replace(RAISED["#OF"], changes={**RAISED["#OF"].changes, "nrip": STALE}), OF),
    "BOUND": (replace(RAISED["#BR"], changes={**RAISED["#BR"].changes, "nrip": STALE}), BR),
}
OTHERS = {
    "#UD": (raises("ud2", UD, nrip=STALE), UD),
    "#GP": (raises("mov al, [rcx]", GP, rcx=NON_CANONICAL, nrip=STALE), GP),
    "#PF": (raises("mov al, [rcx]", PF, rcx=NOWHERE, nrip=STALE), PF),
    "a virtual interrupt": (
        tried("nop", exits.VINTR, vintr=Vintr.V_IRQ | 0xF << 16 | 0x80 << 32, before="sti\nnop", nrip=STALE),
        exits.VINTR,
    ),
    "shutdown": (raises("ud2", nrip=STALE), exits.SHUTDOWN),
    "no guest": (tried("nop", efer=Efer.LME | Efer.LMA, nrip=STALE), INVALID),
}


def sequential(ran: Seen, tries: Tries, expected: dict[str, tuple[Try, int]]) -> None:
    """Each exits with its code, and nRIP is where its instruction ends."""
    tries.come_to(ran, {name: code for name, (_, code) in expected.items()})
    seen = {name: ran.vmrun(name).after.nrip for name in expected}
    assert seen == {
        name: ran.vmrun(name).before.rip + it.offset + tries.length(name) for name, (it, _) in expected.items()
    }


def only_tries(expected: dict[str, tuple[Try, int]]) -> Tries:
    """The tries of a table."""
    return Tries({name: it for name, (it, _) in expected.items()})


OF_INSTRUCTIONS, OF_JUMPS, OF_MAPPED = only_tries(INSTRUCTIONS), only_tries(JUMPS), only_tries(MAPPED)
OF_RAISING, OF_OTHERS = only_tries(RAISING), only_tries(OTHERS)


@requirement("SVM-15.7.1-003")
@executes(OF_INSTRUCTIONS.programs)
def test_nrip_of_an_instruction(ran: Seen) -> None:
    """When an instruction is intercepted nRIP is the address behind it, its prefixes counted."""
    sequential(ran, OF_INSTRUCTIONS, INSTRUCTIONS)


@requirement("SVM-15.7.1-005")
@executes(OF_JUMPS.programs)
def test_nrip_of_what_goes_elsewhere(ran: Seen) -> None:
    """When INTn or IRET is intercepted nRIP is the address behind it, not where it would go."""
    sequential(ran, OF_JUMPS, JUMPS)


@requirement("SVM-15.7.1-008")
@executes(OF_MAPPED.programs)
def test_nrip_of_msrs_and_ports(ran: Seen) -> None:
    """When an access to an MSR or a port is intercepted nRIP is the address behind the instruction."""
    sequential(ran, OF_MAPPED, MAPPED)


@requirement("SVM-15.7.1-009")
@executes(OF_RAISING.programs)
def test_nrip_of_what_raises_on_purpose(ran: Seen) -> None:
    """When the exception of INT3, INTO or BOUND is intercepted nRIP is the address behind the instruction."""
    sequential(ran, OF_RAISING, RAISING)


@requirement("SVM-15.7.1-004")
@executes(OF_OTHERS.programs)
def test_nrip_of_other_exits_is_0(ran: Seen) -> None:
    """nRIP is 0 for other exceptions, an interrupt, a shutdown and VMEXIT_INVALID, whatever it was before."""
    OF_OTHERS.come_to(ran, {name: code for name, (_, code) in OTHERS.items()})
    seen = {name: ran.vmrun(name).after.nrip for name in OTHERS}
    assert seen == dict.fromkeys(OTHERS, 0)
