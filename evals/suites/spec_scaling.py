"""The part `scaling` of the suite `speculation`."""

from __future__ import annotations

from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    return Findings(rows=())
