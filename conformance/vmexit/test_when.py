"""When an exit comes: before what it intercepts has done anything, with the state that was there (15.7, 15.7.1)."""

from conformance.exception_intercepts.guests import BEYOND, DB, DE, GP, IDT_NOWHERE, PF, RAISED, UD, raises
from conformance.intercepts.tried import GOES_ON, NOWHERE, Changes, Tries, tried, without
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model import exits

RDTSC, PUSHF, CPUID, SIDT, SLDT = 0x6E, 0x70, 0x72, 0x66, 0x68
ALL_OF_THEM = tuple(code for code in range(exits.INTR, exits.SHUTDOWN) if code not in (exits.IOIO, exits.MSR))
"""Every intercept of the vector at 00Ch, but for those that need a map."""

SAME = 0x1234_5678
REGISTERS = ("rcx", "rdx", "rbx")
MARKED: Changes = dict.fromkeys(REGISTERS, SAME)

EXITS = Tries(
    {
        "#DE": raises("div cl", DE, **IDT_NOWHERE),
        "#UD": raises("ud2", UD, **IDT_NOWHERE),
        "#GP": raises("mov ds, ecx", GP, rcx=BEYOND, **IDT_NOWHERE),
        "CPUID": tried("cpuid", CPUID, **MARKED),
        "RDTSC": tried("rdtsc", RDTSC, **MARKED),
        "PUSHF": tried("pushfq", PUSHF, **MARKED),
        "CPUID of all": tried("cpuid", *ALL_OF_THEM),
        "RDTSC of all": tried("rdtsc", *ALL_OF_THEM),
        "PUSHF of all": tried("pushfq", *ALL_OF_THEM),
        "CPUID behind others": tried("cpuid", CPUID, before="nop\nmov ecx, 5"),
        "CPUID with prefixes": tried("db 0x66, 0x3E\ncpuid", CPUID),
        "SLDT in real mode": tried("sldt cx", SLDT, mode=Mode.REAL),
        "SIDT to nowhere": tried(f"sidt [{NOWHERE:#x}]", SIDT),
    }
)


@requirement("SVM-15.7-001")
@executes(EXITS.programs)
def test_exception_exits_before_its_delivery(ran: Seen) -> None:
    """With the IDT in a page that is not present an exception that is intercepted exits, and has pushed nothing."""
    EXITS.come_to(ran, {"#DE": DE, "#UD": UD, "#GP": GP})
    assert all(ran.vmrun(name).after.rsp == ran.vmrun(name).before.rsp for name in ("#DE", "#UD", "#GP"))


@requirement("SVM-15.7-003")
@executes(EXITS.programs)
def test_instruction_has_done_nothing(ran: Seen) -> None:
    """CPUID and RDTSC have written no register, PUSHF has pushed nothing; without their intercepts they do."""
    names = {"CPUID": CPUID, "RDTSC": RDTSC, "PUSHF": PUSHF}
    EXITS.come_to(ran, names | dict.fromkeys(map(without, names), GOES_ON))
    for name in names:
        seen, free = ran.vmrun(name), ran.vmrun(without(name))
        assert [seen.step.registers[register] for register in REGISTERS] == [SAME] * 3, name
        assert (seen.after.rax, seen.after.rsp) == (seen.before.rax, seen.before.rsp), name
        assert free.step.registers["rdx"] != SAME or free.after.rsp != free.before.rsp, name


@requirement("SVM-15.7-004")
@executes(EXITS.programs)
def test_place_among_the_faults(ran: Seen) -> None:
    """SLDT in real mode raises #UD; SIDT to a page that is not present exits, and raises #PF when not intercepted."""
    EXITS.come_to(ran, {"SLDT in real mode": UD, "SIDT to nowhere": SIDT, without("SIDT to nowhere"): PF})


@requirement("SVM-15.7-006")
@executes(EXITS.programs)
def test_code_is_of_the_one_that_fired(ran: Seen) -> None:
    """With all intercepts of the vector at 00Ch set each instruction exits with its own code."""
    EXITS.come_to(ran, {"CPUID of all": CPUID, "RDTSC of all": RDTSC, "PUSHF of all": PUSHF})


@requirement("SVM-15.7.1-001")
@executes(EXITS.programs)
def test_rip_is_that_of_the_instruction(ran: Seen) -> None:
    """CS:RIP is that of the intercepted instruction, of its prefixes if it has some."""
    EXITS.exit(ran, CPUID, "CPUID behind others", "CPUID with prefixes")
    seen = ran.vmrun("CPUID behind others")
    assert seen.after.cs.selector == seen.before.cs.selector


PUSHED = Tries({name: RAISED[name] for name in ("#DE", "#DB", "#BP", "#UD", "#GP", "#PF")})


@requirement("SVM-15.7.1-007")
@executes(PUSHED.programs)
def test_rip_of_an_exception_is_what_it_would_push(ran: Seen) -> None:
    """For a fault that is the RIP of its instruction, for a trap the one behind."""
    PUSHED.exit(ran, DE, "#DE")
    PUSHED.exit(ran, UD, "#UD")
    PUSHED.exit(ran, GP, "#GP")
    PUSHED.exit(ran, PF, "#PF")
    PUSHED.come_to(ran, {"#DB": DB})
    assert ran.vmrun("#DB").after.rip == ran.vmrun("#DB").before.rip + PUSHED.length("#DB")


@requirement("SVM-15.7.1-002")
@executes(PUSHED.programs)
def test_trap_has_happened(ran: Seen) -> None:
    """At the exit of a #DB that is a trap the instruction before it is done: RIP is behind it."""
    PUSHED.come_to(ran, {"#DB": DB})
    assert ran.vmrun("#DB").after.rip == ran.vmrun("#DB").before.rip + PUSHED.length("#DB")
