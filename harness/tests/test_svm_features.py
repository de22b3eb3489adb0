"""Optional parts of SVM: our hypervisor uses what is offered, says so in the VMCB, and does as well without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.boot import Boot, Fault, Insn
from harness.engines import select
from harness.engines.qemu import Qemu
from harness.errors import SvmconfError
from harness.hypervisors.ours import our_manifest
from harness.machine.vmcb import Vmcb
from harness.model.registers import Virt
from harness.msr import CPUID_SVM
from harness.observation import Observation

PAUSE_INTERCEPT = 1 << 23
Trait = Callable[[list[Vmcb]], bool]
FEATURES: dict[str, tuple[int, Trait]] = {
    "lbr": (1, lambda vmcbs: bool(vmcbs[0].virt_enables & Virt.LBR)),
    "clean-bits": (5, lambda vmcbs: any(vmcb.vmcb_clean for vmcb in vmcbs)),
    "flush-by-asid": (6, lambda vmcbs: vmcbs[0].tlb_control == 3),
    "pause-filter": (
        10,
        lambda vmcbs: bool(vmcbs[0].intercept_misc1 & PAUSE_INTERCEPT and vmcbs[0].pause_filter_count),
    ),
    "pause-threshold": (12, lambda vmcbs: bool(vmcbs[0].pause_filter_threshold)),
}
"""By the name on the command line: the bit of Fn8000_000A_EDX, and how VMCBs look when it is used."""
SILENT = {"nrips": 3, "decode-assists": 7}
"""These only the processor writes: nothing in the VMCB asks for them."""
NO_THRESHOLD_ALONE = {"pause-filter": {"pause-threshold"}}
WHOLE_MACHINE = {"lbr", "clean-bits", "flush-by-asid"}


def used(seen: Observation) -> set[str]:
    vmcbs = [vmcb for _, vmcb in seen.vmruns()]
    return {name for name, (_, shows) in FEATURES.items() if shows(vmcbs)}


@pytest.mark.parametrize(("guest", "possible"), [("lengths", set(FEATURES)), ("pc.lengths", WHOLE_MACHINE)])
def test_what_is_offered_is_used(guest: str, possible: set[str], qemu: Qemu, tmp_path: Path) -> None:
    """QEMU has none of them: it is made to offer all, and ignores what the VMCB then asks for."""
    bits = [bit for bit, _ in FEATURES.values()] + [*SILENT.values()]
    offers = Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rdx": (sum(1 << bit for bit in bits), 0)})
    plain = qemu.observe(our_manifest(), Boot(guest=guest), "EPYC", tmp_path)
    assert (plain.outcome, used(plain)) == ("guest-finished", set())
    seen = qemu.observe(our_manifest(), Boot(guest=guest, faults=(offers,)), "EPYC", tmp_path)
    assert seen.witness["LENGTHS"].value == 24
    assert (seen.outcome, used(seen)) == ("guest-finished", possible)
    for name in possible:
        without = Boot(guest=guest, faults=(offers,), words=(f"without={name}",))
        seen = qemu.observe(our_manifest(), without, "EPYC", tmp_path)
        left = possible - {name} - NO_THRESHOLD_ALONE.get(name, set())
        assert (seen.outcome, used(seen)) == ("guest-finished", left), name


@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "offered"), [("bochs-3.1", 0x144F), ("kvm-6.12", 0x1000_0061)])
def test_engines_that_offer_them_run_guests_with_and_without(engine: str, offered: int, tmp_path: Path) -> None:
    try:
        chosen = select.engine(engine)
    except SvmconfError as error:
        pytest.skip(str(error))
    cpu = "ryzen" if engine.startswith("bochs") else chosen.default_cpus[0]
    expected = {name for name, (bit, _) in FEATURES.items() if offered >> bit & 1}
    everything = ",".join([*FEATURES, *SILENT])
    try:
        for guest, possible in (("lengths", expected), ("pc.lengths", expected & WHOLE_MACHINE)):
            for words, wanted in (((), possible), ((f"without={everything}",), set())):
                seen = chosen.observe(our_manifest(), Boot(guest=guest, words=words), cpu, tmp_path)
                assert (seen.outcome, used(seen)) == ("guest-finished", wanted), (guest, words)
                assert seen.witness["LENGTHS"].value == 24
    finally:
        getattr(chosen, "close", lambda: None)()
