"""Passages and tallies as JSON, a line each. docs/trace.md describes them."""

from __future__ import annotations

import json
from dataclasses import asdict

from harness.trace.log import changes, what
from harness.trace.passage import Passage
from harness.trace.tally import Tally, reason


def of_passage(passage: Passage) -> str:
    """One passage; numbers are numbers, what is not known is absent."""
    found: dict[str, object] = {
        "kind": "passage",
        "number": passage.number,
        "cpu": passage.cpu,
        "vmrun": passage.vmrun,
        "vmcb": passage.rax,
        "seconds": round(passage.seconds, 9),
        "reason": reason(passage),
        "guest_instructions": passage.guest,
        "host_instructions": passage.host,
    }
    if passage.came_back and passage.after is not None:
        found |= {name: passage.after[name] for name in ("exitcode", "exitinfo1", "exitinfo2", "exitintinfo")}
        found["text"] = what(passage)
    if passage.before is not None:
        start = passage.before.decoded() if passage.last is None else changes(passage.last, passage.before)
        found["hypervisor_wrote"] = start
        if passage.after is not None:
            found["processor_wrote"] = changes(passage.before, passage.after)
    return json.dumps({name: value for name, value in found.items() if value is not None})


def of_tally(tally: Tally, ending: str, outcome: str | None) -> str:
    """The summary."""
    rows = {
        name: {
            "exits": row.exits,
            "guest_instructions": asdict(row.guest) if row.guest else None,
            "host_instructions": asdict(row.host) if row.host else None,
        }
        for name, row in tally.rows.items()
    }
    return json.dumps(
        {
            "kind": "summary",
            "vmruns": tally.vmruns,
            "seconds": tally.seconds,
            "instructions": tally.instructions,
            "attempts_of_guests": tally.attempts,
            "ended": ending,
            "outcome": outcome,
            "reasons": rows,
        }
    )
