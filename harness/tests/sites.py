"""A ledger with a bit of everything, for tests of the site that is made from it."""

from __future__ import annotations

from harness.boot import Boot, Fault, Insn
from harness.lab.guest import Mode, guest
from harness.ledger import Entry, Ledger, Verdict
from harness.msr import Msr
from harness.report.site.source import Sources
from harness.spec import claims, expectations
from harness.spec.expectations import Deviation
from harness.tests import ledgers
from harness.tests.ledgers import entry, event

NASTY = '<script>alert(1)</script> & "quoted" | `ticks` </pre>'
HYPERVISOR, PLATFORM, OTHER = "SVM-15.4-003", "SVM-15.5.1-002", "SVM-15.5.1-005"
OLD, NEW, XEN = "qemu-5.2", "qemu-10.0", "xen-4.17+kvm"

SVMDIS = Fault(insn=Insn.RDMSR, select=Msr.VM_CR, force={"rax": (0x10, 0)})
BEFORE = guest(Mode.REAL).vmcb.data
AFTER = guest(Mode.REAL, exitcode=0x81, rip=0x1234).vmcb.data


def known() -> Deviation:
    """A deviation that is in our expectations, with a link."""
    return next(one for one in expectations.every()["qemu"] if one.upstream.startswith("https://"))


def sourced(made: Entry) -> Entry:
    """The entry, as if it came from a case of the suite."""
    case = claims.suite()[0]
    return made.model_copy(update={"source": case.source, "claim": case.claim})


def source_page() -> str:
    """The page with the source of that case."""
    return Sources([claims.suite()[0].source]).all[0].page


def everything(run: str = "r", started: str = "2026-01-02T00:00:00Z") -> Ledger:
    """Three engines and one that is not here; every verdict; boots and programs; text that is no markup."""
    lie = event(Insn.RDMSR, tampered=True, before={"rcx": Msr.VM_CR})
    vmrun = event(Insn.VMRUN, "run+0x3", before={"rax": 0x2000}, vmcb=BEFORE, vmcb_after=AFTER)
    lost = event(Insn.VMRUN, "run+0x3", before={"rax": 0x2000}, vmcb=AFTER).model_copy(update={"after": {}})
    evidence = [
        ledgers.boot("boot-old", OLD, Boot(guest="hello", faults=(SVMDIS,)), trace=[lie, vmrun, lost], console=NASTY),
        ledgers.boot("boot-new", NEW, Boot(guest="hello", faults=(SVMDIS,)), arranged=(SVMDIS,), trace=[vmrun]),
        ledgers.program("program-old", OLD, ledgers.step(), ledgers.step(6)),
        ledgers.program("program-new", NEW, ledgers.step(), ledgers.step(13)),
        ledgers.program("program-xen", XEN, ledgers.step(13, "Xen"), ledgers.step(13, "TCG")),
    ]
    deviation = known()
    entries = [
        entry("test_svmdis", OLD, evidence="boot-old", requirements=[HYPERVISOR], variant="locked"),
        entry("test_svmdis", NEW, evidence="boot-new", requirements=[HYPERVISOR], variant="locked"),
        entry("test_svmdis", XEN, Verdict.NOT_RUN, "no guest ran", requirements=[HYPERVISOR]),
        sourced(entry("test_cpl", OLD, Verdict.FAIL, f"vector 6\n{NASTY}", requirements=[PLATFORM],
                      evidence="program-old")),
        entry("test_cpl", NEW, requirements=[PLATFORM], evidence="program-new"),
        entry("test_cpl", XEN, requirements=[PLATFORM], evidence="program-xen"),
        entry(deviation.case, OLD, Verdict.EXPECTED_FAIL, str(deviation), requirements=[deviation.requirement],
              evidence="program-old"),
        entry(deviation.case, NEW, Verdict.FAIL, f"{expectations.MENDED}: [XPASS(strict)]",
              requirements=[deviation.requirement], evidence="program-new"),
        entry("test_other", OLD, Verdict.SKIP, "CPUID LbrVirt is 0", requirements=[OTHER]),
        entry("test_other", NEW, Verdict.ERROR, "EngineError: it crashed", requirements=[OTHER], cpu="qemu64"),
        entry("test_other", NEW, requirements=[OTHER], cpu="EPYC"),
    ]  # fmt: skip
    lines = [
        ledgers.engine(OLD, "5.2.0 (Debian)"),
        ledgers.engine(NEW, "10.0.13 (Debian)", ("EPYC", "qemu64")),
        ledgers.engine(XEN, "4.17.5"),
    ]
    return ledgers.ledger(
        lines, entries, evidence, run=run, started=started, unavailable={"bochs-3.0": "engine bochs-3.0 is not fetched"}
    )
