from __future__ import annotations

import pytest

from harness.boot import Fault, Insn
from harness.engines.base import CpuModel
from harness.errors import EngineError
from harness.lab.seen import Seen, StepSeen
from harness.machine.ending import Ending, How
from harness.spec import processor
from harness.spec.gate import Gate

NP, SVML, NRIPS = "Fn8000_000A_EDX[0]", "Fn8000_000A_EDX[2]", "Fn8000_000A_EDX[3]"
MODEL = CpuModel(name="one", vendor="AuthenticAMD", long_mode=True, svm=True, npt=False)


def read(**leaves: dict[str, int]) -> Seen:
    """What a processor answered: ``_8000_0001={"rcx": 4}``; the last leaves are 7 and 8000_000Ah."""
    answers = {0: {"rax": 7}, 0x8000_0000: {"rax": 0x8000_000A}}
    answers |= {int(leaf.replace("_", ""), 16): registers for leaf, registers in leaves.items()}
    beyond = dict.fromkeys(("rax", "rbx", "rcx", "rdx"), 0xFFFF_FFFF)
    steps = [
        StepSeen(vector=None, error=0, rip=2, cr2=0, efer=0, rflags=0, vm_hsave_pa=0,
                 registers=dict.fromkeys(beyond, 0) | answers.get(leaf, beyond))
        for leaf in processor.LEAVES
    ]  # fmt: skip
    return Seen(
        engine="e", engine_version="1", cpu="one", command=[], ended=Ending(how=How.EXITED, code=0x50), steps=steps,
        program=processor.PROGRAM,
    )  # fmt: skip


def nobody() -> Seen:
    raise AssertionError("the probe was asked")


def test_svm_and_np_need_no_probe() -> None:
    assert processor.missing(Gate.parse("Fn8000_0001_ECX[2]"), MODEL, nobody) == ""
    assert processor.missing(Gate.parse(NP), MODEL, nobody) == f"CPUID {NP} (NP) is 0"
    assert processor.missing(Gate(), MODEL, nobody) == ""


def test_other_bits_are_asked_of_the_processor() -> None:
    def ask() -> Seen:
        return read(_8000_000a={"rdx": 1 << 3})

    assert processor.missing(Gate.parse(f"{NP} and {NRIPS}"), MODEL, ask) == f"CPUID {NP} (NP) is 0"
    assert processor.missing(Gate.parse(f"{NRIPS} and not {SVML}"), MODEL, ask) == ""


def test_a_leaf_beyond_the_last_is_zero_whatever_it_returns() -> None:
    sev = Gate.parse("Fn8000_001F_EAX[1]")
    assert processor.missing(sev, MODEL, read) == "CPUID Fn8000_001F_EAX[1] (SEV) is 0"


def test_a_lie_counts_as_what_the_processor_says() -> None:
    there = Fault(insn=Insn.CPUID, select=0x8000_000A, force={"rdx": (1 << 2, 1 << 3)})
    elsewhere = Fault(insn=Insn.CPUID, select=0x8000_0001, force={"rdx": (1 << 2, 0)})
    gate = Gate.parse(f"{SVML} and not {NRIPS}")
    answer = read(_8000_000a={"rdx": 1 << 3})
    assert processor.missing(gate, MODEL, lambda: answer, (there,)) == ""
    assert processor.missing(gate, MODEL, lambda: answer, (elsewhere,)) != ""


def test_a_probe_that_read_nothing_is_the_engines_failure() -> None:
    broken = read().model_copy(update={"steps": []})
    with pytest.raises(EngineError, match="the probe could not read CPUID"):
        processor.missing(Gate.parse(NRIPS), MODEL, lambda: broken)
