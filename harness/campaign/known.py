"""Whether a finding is a deviation that is written down already (conformance/expectations)."""

from __future__ import annotations

from harness.campaign.finding import Finding
from harness.campaign.folder import Plan
from harness.engines import select
from harness.spec import expectations


def is_known(finding: Finding, plan: Plan) -> bool:
    """Whether each of its engines has an expectation about that requirement."""
    if not finding.requirement:
        return False
    cpus = {where.engine: where.cpu for where in plan.on}
    return all(_listed(finding.requirement, name, plan.versions[name], cpus[name]) for name in finding.engines)


def _listed(requirement: str, name: str, version: str, cpu: str) -> bool:
    family = select.engine(name).family
    return any(
        one.requirement == requirement and one.applies(one.case, version, cpu, next(iter(one.variants), ""))
        for one in expectations.load(name, family)
    )
