"""What disagreed: of which engine, with which sentence of the manual, or engines with each other."""

from __future__ import annotations

import hashlib
import re

from pydantic import BaseModel, ConfigDict

from harness.campaign.specimen import Specimen

MODEL, EXIT, DIFFER, DIED = "model", "exit", "differ", "died"


class Finding(BaseModel):
    """One disagreement. Findings with the same :attr:`cause` are the same deviation, whatever the specimen.

    :param kind: ``model``: VMRUN did not do what a rule demands; ``exit``: #VMEXIT left what a rule forbids;
        ``differ``: engines differ where the model leaves it open; ``died``: the machine or the engine went away.
    :param engines: those that deviate; of ``differ`` all that were compared.
    :param requirement: of the catalogue, where a rule was broken.
    :param field: of the VMCB, or what else differs.
    :param expected: by the rule, in words.
    :param seen: by each engine, in words.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    engines: tuple[str, ...]
    requirement: str = ""
    field: str = ""
    expected: str
    seen: dict[str, str]
    specimen: Specimen
    shrunk: bool = False
    confirmed: bool | None = None
    known: bool = False

    @property
    def cause(self) -> str:
        """What makes two findings one."""
        return " ".join(filter(None, (self.kind, ",".join(self.engines), self.requirement, self.field, self._did)))

    @property
    def _did(self) -> str:
        """How it ended where no rule names the deviation."""
        if self.kind == DIFFER:
            return " / ".join(sorted(set(self.seen.values())))
        return "" if self.requirement else self.seen[self.engines[0]]

    @property
    def name(self) -> str:
        """A folder's name."""
        words = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{self.kind}-{self.requirement or self.field}-{self.engines[0]}")
        return f"{words}-{hashlib.sha256(self.cause.encode()).hexdigest()[:6]}"

    @property
    def size(self) -> int:
        """How many bits its specimen differs from a legal guest in."""
        return sum(twist.mask.bit_count() for twist in self.specimen.twists)
