"""An unmodified Linux under the hypervisor: it boots, works, ends; the hypervisor stays whole and out of reach."""

import re
from signal import SIGILL, SIGSEGV, SIGTERM

from conformance.evidence import given_to_processors, is_whole, maps_nothing_of_the_hypervisor, ways
from harness.boot import Boot, Insn
from harness.cases import Cpus, NotRun, boots, requirement
from harness.guests.linux import LINUX, Linux
from harness.guests.report import Report
from harness.machine.ending import How
from harness.msr import Msr
from harness.observation import Observation

ONE = Boot(name="one", guest=LINUX, linux=Linux())
TWO = Boot(name="two", guest=LINUX, linux=Linux(processors=2))

OF_TIME = re.compile(
    r"tsc: (Unable to calibrate|Fast TSC|Refined|Marking)|clocksource|calibration|hrtimer: interrupt took|sched_clock|"
    r"[Uu]nstable clock|keep using the local clock|trace_clock=local|on the kernel command line|Lost \d+ RTC|"
    r"8254 timer not connected"
)
"""Warnings that come and go with the load of the machine that emulates: the bare engine has them in some boots only.

All are of time that one clock measured and another did not. The last is of the PIT, whose ticks Linux counts over a
delay by the TSC: an emulator that stands still meanwhile makes up for the TSC, not for the ticks (timer_irq_works()).
"""

ANONYMOUS, FILE = "b5cfa9d6c8febd618f91ac2843d50a1c", "c1d4ba52c72ac7bcc71ff2d6c083e684"
"""MD5 of 4 MiB of zeros, and of the numbers to 50,000, a line each."""


def said(seen: Observation) -> Report:
    """What the guest said; the case is not run when it never came to its own first program."""
    report = Report.of(seen.console)
    if "up" not in report.said:
        raise NotRun(f"Linux did not come to its first program: the machine {seen.ended}")
    return report


@requirement("SVM-15.5.1-017")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_boots_to_its_first_program(seen: Observation) -> None:
    """An unmodified kernel of Debian's comes to its first program, with all of its processors."""
    report = Report.of(seen.console)
    assert "up" in report.said, f"the machine {seen.ended}; its last words: {seen.console[-300:]!r}"
    assert seen.boot.linux is not None
    assert report.said.get("processors") == str(seen.boot.linux.processors)


@requirement("SVM-15.5.1-017")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_works_as_it_should(seen: Observation) -> None:
    """Processes, memory, timers, signals, registers across exits, a load with timer interrupts: all as it must be."""
    report = said(seen)
    assert report.done, f"it did not end: the machine {seen.ended}; it said {report.said}"
    assert report.said["fork"] == "20"
    assert report.said["bound"] == report.said["processors"]
    assert (report.said["anonymous"], report.said["file"]) == (ANONYMOUS, FILE)
    assert float(report.said["slept"]) >= 1.0, "five times 0.2 s were less than a second"
    assert report.values("signals") == {"caught": 20, "ended": 128 + SIGSEGV, "timed": 128 + SIGTERM}
    assert report.values("programs")["registers"] == 0, "CPUID changed other registers than its own"
    load = report.values("load")
    assert load["rounds"] > 0 and load["wrong"] == 0
    ticks, seconds = report.said["ticks"].split()
    assert int(ticks) >= 25 * float(seconds), f"{ticks} timer interrupts in {seconds} s under load"


@requirement("SVM-15.5.2-015", "SVM-15.17-014")
@boots(ONE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_vmrun_does_not_exist_for_its_programs(seen: Observation) -> None:
    """A program of Linux' that executes VMRUN is ended by SIGILL, as on a processor without SVM."""
    report = said(seen)
    if "programs" not in report.said:
        raise NotRun(f"it did not come as far: the machine {seen.ended}")
    assert report.values("programs")["svm"] == 128 + SIGILL


@requirement("SVM-CPUID-003", "SVM-15.4-019")
@boots(ONE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_knows_that_it_is_a_guest_without_svm(seen: Observation) -> None:
    """Linux finds the hypervisor bit of CPUID set, and SVM absent."""
    assert said(seen).values("flags") == {"hypervisor": 1, "svm": 0}


@requirement("SVM-15.5.1-017")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_powers_off(seen: Observation) -> None:
    """The guest's last act, a power-off (a reset without ACPI), ends the machine with the outcome that says so."""
    report = said(seen)
    assert report.done, f"it did not come to its end: the machine {seen.ended}"
    if seen.alone is None or not Report.of(seen.alone.console).done:
        raise NotRun(f"the bare engine does not show how it ends: {seen.alone.ended if seen.alone else 'not booted'}")
    bare = seen.alone.ended.how
    outcomes = {How.SHUTDOWN: "guest-finished", How.RESET: "guest-reset"}
    assert seen.outcome == outcomes.get(bare) or (seen.outcome is None and seen.ended.how is bare), (
        f"the machine {seen.ended}, outcome {seen.outcome}; without a hypervisor: {seen.alone.ended}"
    )


@requirement("SVM-15.11-008")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_its_log_has_no_warning_of_the_hypervisors_making(seen: Observation) -> None:
    """The kernel warns of nothing that it does not warn of on the same engine without a hypervisor."""
    report = said(seen)
    if not report.log:
        raise NotRun(f"it did not come to print its log: the machine {seen.ended}")
    if seen.alone is None or not (bare := Report.of(seen.alone.console)).log:
        raise NotRun(f"the bare engine shows no log to compare: {seen.alone.ended if seen.alone else 'not booted'}")
    known = bare.warnings()
    new = [text for form, text in report.warnings().items() if form not in known and not OF_TIME.search(text)]
    assert not new, f"warnings that the bare engine does not have: {new}"


@requirement("SVM-15.5.1-047")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_maps_nothing_of_the_hypervisor(seen: Observation) -> None:
    """No nested mapping leads the guest to the image, the VMCB, the maps, the tables, the stack, the host save area."""
    said(seen)
    maps_nothing_of_the_hypervisor(seen)


@requirement("SVM-15.5.1-047")
@boots(TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_no_processor_reaches_what_any_of_them_was_given(seen: Observation) -> None:
    """No nested mapping of any processor leads to a host save area, VMCB, stack or table of any: seen from outside."""
    said(seen)
    assert seen.boot.linux is not None
    if len(seen.guests) < seen.boot.linux.processors:
        raise NotRun(f"{len(seen.guests) or 1} processor(s) were seen at their first VMRUN")
    pages = given_to_processors(seen)
    reached = [f"VMCB {one.vmcb:#x}: {way}" for one in seen.guests for way in ways(one.mappings, pages)]
    assert all(one.mappings for one in seen.guests), "the translation tables of a VMCB could not be walked"
    assert not reached, "; ".join(reached[:4])


@requirement("SVM-15.30.4-004")
@boots(TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_each_processor_has_a_host_save_area_of_its_own(seen: Observation) -> None:
    """No page is given to two processors as their host save area."""
    said(seen)
    if cut := seen.given_up(Insn.WRMSR):
        raise NotRun(f"not all was watched: {cut[0]}")
    # While one processor stands at a breakpoint a debugger may lose another's, or meet it twice: how often that was
    # tells nothing. Each processor has a stack of its own, so no two write it with the same registers.
    writes = {tuple(sorted(event.before.items())): event.written for event in seen.wrote(Msr.VM_HSAVE_PA)}
    pages = list(writes.values())
    assert pages and len(pages) == len(set(pages)), f"processors share a host save area: {list(map(hex, pages))}"


@requirement("SVM-15.10-003", "SVM-15.11-007")
@boots(ONE, TWO, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_the_hypervisor_stays_whole(seen: Observation) -> None:
    """Its code, its constants and both permission maps hold at the end what they held at the first VMRUN."""
    said(seen)
    is_whole(seen)
