"""What the model does not say, and why: for each requirement of the sections that it covers.

A test holds this to the catalogue: each platform requirement of these sections is cited by a rule, a table or a
function of the model, or stands here.
"""

from __future__ import annotations

from harness.spec.catalogue import Requirement

SECTIONS = ("15.5.1", "15.6", "15.7", "15.8", "15.9", "15.10", "15.11", "15.20", "15.25.3", "15.25.4", "15.25.6", "C")
"""Sections whose platform requirements the model covers; of others only what makes VMRUN fail."""


def _ids(prefix: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"SVM-{prefix}-{number:03}" for number in numbers)


IGNORED: dict[str, tuple[str, ...]] = {
    "SVM-15.5.1-C-028": ("es.base", "cs.base", "ss.base", "ds.base", "gdtr.base", "idtr.base"),
    "SVM-15.5.1-C-029": ("ssp", "isst_addr"),
    "SVM-15.5.1-032": ("rip",),
    "SVM-15.5.1-054": ("rip",),
    "SVM-15.5.1-023": ("gdtr.limit", "idtr.limit"),
    "SVM-15.5.1-039": ("cs.limit", "ss.limit", "ds.limit", "es.limit"),
    "SVM-15.5.1-040": ("ds.attrib", "es.attrib", "fs.attrib", "gs.attrib"),
    "SVM-15.5.1-042": ("ss.attrib",),
    "SVM-15.5.1-016": ("fs.base", "gs.base", "tr.attrib", "ldtr.attrib", "kernel_gs_base", "star", "sysenter_eip"),
    "SVM-15.5.1-020": ("rax",),
    "SVM-15.5.1-021": ("rsp",),
    "SVM-15.5.1-028": ("cpl",),
    "SVM-15.5.1-035": ("tsc_offset",),
}
"""Fields that VMRUN takes whatever they hold, by the requirement that says so: no rule looks at them."""

_RUNNING = "it is about what a guest or the host then does: a case has to run one"
_STATE = "it is about state that neither a VMCB nor a register shows"

_ENCRYPTED = "guests with encrypted state are outside of the model"

_ATTRIBUTES = "VMRUN checks no attribute but L and D of CS; what the others do, a guest shows"

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(_ids("15.5.1", 14, 15, 49), _STATE),
    **dict.fromkeys(_ids("15.5.1", 19, 22, 24, 25, 26, 27, 33, 53), _RUNNING),
    **dict.fromkeys(_ids("15.5.1", 38, 41, 55, 56, 57, 58), _ATTRIBUTES),
    "SVM-15.5.1-C-030": "it allows both: what stands behind a set clean bit makes the verdict 'undefined'",
    **dict.fromkeys(_ids("15.5.1-C", 32, 33), _RUNNING),
    "SVM-15.5.1-C-038": _ENCRYPTED,
    **dict.fromkeys(_ids("15.5.1-F", 1, 2, 3, 4), _RUNNING),
    **dict.fromkeys(_ids("15.6", 1, 6, 8, 9, 13, 15, 16, 19, 21, 23, 25, 31, 32), _STATE),
    **dict.fromkeys(_ids("15.6", 26, 27, 28, 29, 30), _RUNNING),
    **dict.fromkeys(_ids("15.7", 1, 5, 7), _RUNNING),
    **dict.fromkeys(_ids("15.7.1", 1, 2, 7, 9), _RUNNING),
    **dict.fromkeys(_ids("15.7.2", 8, 9, 10, 12, 13, 14, 15), _RUNNING),
    "SVM-15.7.3-002": _RUNNING,
    **dict.fromkeys(_ids("15.9", 5, 11), _RUNNING),
    "SVM-15.10-016": _RUNNING,
    "SVM-15.11-009": _RUNNING,
    **dict.fromkeys(_ids("15.20", 1, 13, 14, 15, 16, 17, 22, 23, 24, 25, 26, 27), _RUNNING),
    **dict.fromkeys(_ids("15.25.3", 3, 5), _RUNNING),
    **dict.fromkeys(_ids("15.25.4", 5, 6), _RUNNING),
    **dict.fromkeys(_ids("15.25.6", 1, 2, 3, 12, 13), _RUNNING),
    **dict.fromkeys(_ids("15.35.8", 2, 4), _ENCRYPTED),
    **dict.fromkeys(_ids("15.36.12", 1, 3, 4), _ENCRYPTED),
    **dict.fromkeys(_ids("15.36.16", 1, 2, 3), _ENCRYPTED),
    **dict.fromkeys(("SVM-15.36.17-001", "SVM-15.36.20-001", "SVM-15.36.21-001", "SVM-15.38-006"), _ENCRYPTED),
    "SVM-C-004": _ENCRYPTED,
}
"""Requirements that the model does not know, and the reason."""


def covers(requirement: Requirement) -> bool:
    """Whether the model must know a requirement, or say here why not."""
    checks = requirement.id.startswith("SVM-15.5.1-C-") or "VMEXIT_INVALID" in requirement.statement
    ours = requirement.kind != "hypervisor" and requirement.status != "untestable"
    return checks or (ours and any(requirement.within(section) for section in SECTIONS))
