"""The reference model: what the manual says that VMRUN does, in plain Python.

* :func:`judge` says of a :class:`State` (the processor, rAX, the VMCB) whether VMRUN must run the guest, must fail, and
  why; :func:`rules` are the rules that it knows, each of which cites its requirements.
* :mod:`harness.model.intercepts` says which guest actions are intercepted, and what comes first.
* :mod:`harness.model.exits` has the exit codes and what EXITINFO1 and EXITINFO2 hold.
* :func:`judge_exit` says of a VMRUN that came back (the VMCB before and after it: :class:`Passage`) what #VMEXIT wrote
  and must not have; :func:`exit_rules` are those rules.

Nothing here knows an engine: a campaign compares engines with it, ``svmconf explain`` tells people what they broke.
"""

from harness.model import instruction, guest_state, control, injection, nested, left_open, exit_info  # noqa: F401, I001 (in this order the rules are judged)
from harness.model.cpuid import LEAST, Cpuid, Unknown
from harness.model.rule import Change, Doubt, Effect, Rule, Violation, rules
from harness.model.saves import Passage, exit_rules, judge_exit
from harness.model.state import HOST, Guest, Processor, State
from harness.model.verdict import Outcome, Verdict, judge, mended

__all__ = [
    "HOST",
    "LEAST",
    "Change",
    "Cpuid",
    "Doubt",
    "Effect",
    "Guest",
    "Outcome",
    "Passage",
    "Processor",
    "Rule",
    "State",
    "Unknown",
    "Verdict",
    "Violation",
    "exit_rules",
    "judge",
    "judge_exit",
    "mended",
    "rules",
]
