"""Stepping through an instruction of a domain, with a stub that plays what TCG and Xen do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded
from harness.machine.base import Point, Stop
from harness.machine.ram import Ram
from harness.machine.xen.debugger import TCG, XEN, DomainDebugger
from harness.machine.xen.found import Found

VMCB, EFER, XEN_ROOT, DOM0_ROOT = 0x1000, 0x2008, 0x3000, 0x4000
VMRUN, BEHIND = 0xFFFF_82D0_4020_4502, 0xFFFF_82D0_4020_4505
FOUND = Found(vmcb=VMCB, efer=EFER, vmrun=VMRUN, mapped=0xAB_C000)
START = 0x11_2000
TRAP, INTERRUPT, GONE = "T05thread:01;", "T02thread:01;", "W00"
INTR, CPUID, EXIT_VMRUN, HLT = 0x60, 0x72, 0x80, 0x78


@dataclass(frozen=True)
class Moment:
    """Where the machine stands after it ran: in the domain (CR3 0), in Xen, or in dom0."""

    rip: int
    cr3: int = 0
    exitcode: int | None = None
    reply: str = TRAP


def xen(rip: int = BEHIND, exitcode: int | None = None, reply: str = TRAP) -> Moment:
    return Moment(rip, XEN_ROOT, exitcode, reply)


class Stub:
    """Answers as a gdbstub would; each step, and each resuming, leads to the next moment."""

    def __init__(self, ram: Ram, *moments: Moment) -> None:
        self.ram = ram
        self.now = Moment(START)
        self.to_come = list(moments)
        self.done: list[str] = []
        self.points: set[int] = set()

    def _go(self, how: str) -> Stop:
        self.done.append(how)
        if not self.to_come:
            raise DeadlineExceeded("nothing more happens")
        self.now = self.to_come.pop(0)
        if self.now.exitcode is not None:
            os.pwrite(self.ram.descriptor, self.now.exitcode.to_bytes(8, "little"), VMCB + 0x70)
        return Stop(self.now.reply)

    def step(self) -> Stop:
        return self._go("step")

    def resume(self) -> None:
        self.done.append("resume")

    def wait(self, deadline: Deadline) -> Stop:
        return self._go("wait")

    def interrupt(self) -> None:
        self.done.append("interrupt")
        self.to_come.append(Moment(self.now.rip, self.now.cr3, reply=INTERRUPT))

    def register(self, name: str) -> int:
        return int(getattr(self.now, name))

    def registers(self) -> dict[str, int]:
        return {"rip": self.now.rip, "cr3": self.now.cr3, "rax": 7, "efer": 0x1D01, "cs": 8}

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        self.points.add(address)

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        self.points.remove(address)


@pytest.fixture
def ram() -> Iterator[Ram]:
    with Ram(0x10000) as ram:
        for root in (XEN_ROOT, DOM0_ROOT):
            os.pwrite(ram.descriptor, (0xAB_C067).to_bytes(8, "little"), root + 8 * 261)
        os.pwrite(ram.descriptor, (0xD01).to_bytes(8, "little"), EFER)
        os.pwrite(ram.descriptor, (0x4321).to_bytes(8, "little"), VMCB + 0x578)  # RIP
        yield ram


def debugger(ram: Ram, *moments: Moment, over: bool = False) -> tuple[DomainDebugger, Any]:
    stub: Any = Stub(ram, *moments)
    return DomainDebugger(stub, ram, FOUND, lambda: over), stub


def test_what_tcg_answers_alone_is_one_step(ram: Ram) -> None:
    it, stub = debugger(ram, Moment(START + 2))
    it.step()
    assert (it.answered_by, stub.done, stub.points) == (TCG, ["step"], set())


def test_a_step_in_vain_is_taken_again(ram: Ram) -> None:
    it, stub = debugger(ram, Moment(START), Moment(START), Moment(START + 2))
    it.step()
    assert (it.answered_by, stub.now.rip) == (TCG, START + 2)


def test_an_intercepted_instruction_is_over_when_the_domain_goes_on(ram: Ram) -> None:
    it, stub = debugger(ram, xen(exitcode=CPUID), xen(VMRUN), Moment(START + 2))
    it.step()
    assert (it.answered_by, stub.now.rip, stub.points) == (XEN, START + 2, set())
    assert stub.done == ["step", "resume", "wait", "step"]


def test_an_interrupt_is_not_the_instruction(ram: Ram) -> None:
    it, stub = debugger(
        ram, xen(exitcode=INTR), xen(VMRUN), Moment(START), xen(exitcode=CPUID), xen(VMRUN), Moment(0x6000)
    )
    it.step()
    assert (it.answered_by, stub.now.rip) == (XEN, 0x6000)  # its fault handler, say


def test_xen_may_try_more_than_once(ram: Ram) -> None:
    it, stub = debugger(ram, xen(exitcode=CPUID), xen(VMRUN), xen(exitcode=INTR), xen(VMRUN), Moment(START + 2))
    it.step()
    assert stub.now.rip == START + 2


def test_vmrun_leaves_the_machine_in_xen(ram: Ram) -> None:
    it, stub = debugger(ram, xen(exitcode=EXIT_VMRUN))
    it.step()
    assert (it.answered_by, stub.done, stub.points) == (XEN, ["step"], set())


def test_the_end_of_the_engine_is_passed_on(ram: Ram) -> None:
    it, _ = debugger(ram, xen(exitcode=CPUID), Moment(0, reply=GONE))
    assert it.step().gone


def test_the_last_instruction_of_a_domain_is_interrupted(ram: Ram) -> None:
    it, stub = debugger(ram, xen(exitcode=HLT), over=True)
    it.step()
    assert "interrupt" in stub.done
    assert stub.points == set()


def test_a_breakpoint_that_dom0_ran_into_is_passed_over(ram: Ram) -> None:
    it, stub = debugger(ram, Moment(START, DOM0_ROOT), Moment(START + 3, DOM0_ROOT), Moment(START))
    it.wait(Deadline.after(1))
    assert stub.done == ["wait", "step", "resume", "wait"]


def test_efer_is_the_domains_own(ram: Ram) -> None:
    it, _ = debugger(ram)
    assert (it.registers()["efer"], it.register("efer"), it.registers()["rax"]) == (0xD01, 0xD01, 7)


def test_while_xen_works_the_vmcb_tells(ram: Ram) -> None:
    it, stub = debugger(ram)
    stub.now = xen()
    assert not it.executes
    assert it.registers()["rip"] == 0x4321
    assert it.registers()["efer"] == 0xD01


@pytest.mark.parametrize(("moments", "there"), [((xen(VMRUN), Moment(START)), True), ((), False)])
def test_from_anywhere_back_into_the_domain(ram: Ram, moments: tuple[Moment, ...], there: bool) -> None:
    it, stub = debugger(ram, *moments)
    stub.now = Moment(0x7F00_0000, DOM0_ROOT)
    assert it.enter(Deadline.after(0.05)) is there
    assert stub.points == set()
