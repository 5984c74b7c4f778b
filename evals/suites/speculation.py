"""The suite `speculation`: what gates promise, and what they save, on the built-in model and its twin.

The tasks are `graphmath`'s: problems with tools for the planner and for guessed actions, problems that samples get
wrong here and there for scaling and stopping. No training has seen these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from reasonflow.evals.suites import spec_actions, spec_gate, spec_planner, spec_scaling, spec_stopping
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting, Suite

MAKERS: Mapping[str, Callable[[Setting], Awaitable[Findings]]] = {
    "gate": spec_gate.measure,
    "planner": spec_planner.measure,
    "actions": spec_actions.measure,
    "scaling": spec_scaling.measure,
    "stopping": spec_stopping.measure,
}


async def run(setting: Setting) -> Findings:
    """The table. In turn: seconds are measured in most parts, and nothing else may run there."""
    found = [await make(setting) for part, make in MAKERS.items() if part in (setting.parts or MAKERS)]
    return Findings(
        rows=tuple(row for part in found for row in part.rows),
        goals=tuple(goal for part in found for goal in part.goals),
        breakdowns=tuple(breakdown for part in found for breakdown in part.breakdowns),
        more={name: value for part in found for name, value in part.more.items()},
    )


SUITE = Suite(name="speculation", model="embedded", small="embedded-draft", limit=200, run=run, parts=tuple(MAKERS))
