"""Where CPUID reports no decode assists the places where they would be hold anything: garbage is put there (15.8)."""

from conformance.faults import svm_features
from harness.boot import Boot, Spoil
from harness.cases import Cpus, NotRun, boots, requirement
from harness.machine.vmcb import Vmcb
from harness.observation import Observation

NPT, DECODE_ASSISTS = 1 << 0, 1 << 7
CR_FIRST, CR_LAST, INVLPG, PF, NPF = 0x00, 0x1F, 0x79, 0x4E, 0x400

BYTES = Spoil(offset=0x0D0, data="0f8908" + "90" * 13)
"""15 bytes fetched, of which the first two are MOV [RAX], ECX."""
REGISTER = Spoil(offset=0x078, data="0f00000000000080", exits=(CR_FIRST, CR_LAST))
"""EXITINFO1: a MOV, and its general register is R15."""
ADDRESS = Spoil(offset=0x078, data="efbeaddeefbeadde", exits=(INVLPG, INVLPG))
SPOILS = (BYTES, REGISTER, ADDRESS)

STORES = Boot(
    name="stores to the APIC",
    guest="pc.exits",
    count=5,
    vmruns=200,
    spoils=SPOILS,
    faults=(svm_features(absent=DECODE_ASSISTS),),
)
MOVES = Boot(
    name="control registers",
    guest="long64",
    any_guest=True,
    vmruns=200,
    spoils=SPOILS,
    faults=(svm_features(absent=DECODE_ASSISTS | NPT),),
)


@requirement("SVM-15.8-001")
@boots(STORES, MOVES, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_what_is_undefined_is_not_used(seen: Observation) -> None:
    """With garbage for instruction bytes, MOV's register and INVLPG's address the guest comes to its end."""
    spoilt = {Vmcb(e.vmcb_after).exitcode for e in seen.trace if e.tampered and e.vmcb_after is not None}
    if not spoilt & {*range(CR_FIRST, CR_LAST + 1), INVLPG, PF, NPF}:
        raise NotRun(f"no exit would have told something of its instruction: {sorted(map(hex, spoilt))}")
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"
