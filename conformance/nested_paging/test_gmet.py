"""Guest mode execute trap, where the processor has none (15.25.13)."""

from conformance.intercepts.tried import GOES_ON, Tries
from conformance.nested_paging.spaces import FETCH, Mapped, Space
from harness.cases import Cpus, executes, requirement
from harness.lab.seen import Seen
from harness.model.registers import Nested

SPACE = Space({"a user's": Mapped()})
WITH_GMET = Tries({"fetch": SPACE.access("a user's", FETCH, nested_control=Nested.NP_ENABLE | Nested.GMET)})


@requirement("SVM-15.25.13-004")
@executes(WITH_GMET.programs, cpus=Cpus.WITH_NPT)
def test_gmet_is_ignored_where_there_is_none(ran: Seen) -> None:
    """Without Fn8000_000A_EDX[GMET] a guest with the bit set runs, and its supervisor fetches from a user's page."""
    WITH_GMET.come_to(ran, {"fetch": GOES_ON})
