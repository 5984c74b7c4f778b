"""The part `actions` of the suite `speculation`: what tool calls ahead of time save an agent with slow tools.

The small model guesses each next call of the agent. The agent's prompt is the one that its model was trained with: no
tool is added for effects. Instead a third arm declares the calculator one that has effects, and the calculator itself
counts who calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.arms import Way, accuracy_of, exact, is_right
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Breakdown, Findings, Row
from reasonflow.evals.suites.low_load import Alone, in_turns
from reasonflow.evals.suites.ratios import mean_of, ratio_of_totals
from reasonflow.evals.suites.seconds import NO_PAIRS, latency_rows, paired, ratio_row
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.tool_agent import GREEDY, Agent, agent_of, open_both, problems, settings_of
from reasonflow.evals.suites.waits import Waits, slow
from reasonflow.evals.suites.witness import Witness
from reasonflow.evals.tasks.tools import TOOLS, calculate, look_up
from reasonflow.programs.speculative_actions import ActionsAhead

FOLDER = "actions"
BESIDE, AHEAD, GUARDED = "agent_beside_ahead", "ahead", "guarded"
"""The agent alone, as it is measured beside the second arm: the part `planner` has another measurement of it."""
FREE: Mapping[str, Sequence[str]] = {AHEAD: (look_up.__name__, calculate.__name__), GUARDED: (look_up.__name__,)}
"""Tools that are declared free of effects."""
TYPICAL = 150
"""Milliseconds of a tool call, the median, whose figures have no number in their names."""
ALONE: Mapping[int, int] = {TYPICAL: 12, 1000: 5}
"""By the median milliseconds of a tool call, problems at most: the first ones."""
GUARDED_ALONE = 5
"""Of those with a typical tool."""


async def measure(setting: Setting) -> Findings:
    """Its rows and figures."""
    small, large = open_both(setting)
    try:
        found = {median: await _runs(setting, small, large, median) for median in ALONE}
    finally:
        await close(small)
        await close(large)
    tested = {problem.id: problem for problem in problems(setting)}
    by_median = [_seconds(runs, median) for median, runs in found.items()]
    typical = found[TYPICAL]
    return Findings(
        rows=(
            *(row for rows in by_median for row in rows),
            *_guesses(list(typical[AHEAD].values())),
            *_answers(typical, tested),
        ),
        breakdowns=(_calls(typical),),
        more={"effects_from_guesses": _effects(typical[GUARDED].values())},
    )


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm, and the tools that watch it."""

    way: Way
    witnesses: Mapping[str, Witness]

    def told(self, prediction: Any) -> dict[str, Any]:
        """What a run gave, what came of its guesses, and which calls the tools have seen: [of guesses, others]."""
        guesses = prediction.get("guesses")
        return {
            "answer": prediction.get("answer"),
            "guesses": None if guesses is None else guesses.to_json(),
            "seen": {name: list(witness.take()) for name, witness in self.witnesses.items()},
        }


def _arm(name: str, small: dspy.LM, large: dspy.LM, waits: Waits) -> _Arm:
    witnesses = {tool.__name__: Witness(slow(tool, waits)) for tool in TOOLS}
    agent = agent_of([witness.tool for witness in witnesses.values()], large)
    timed = {"median_s": waits.median_s, "tool_seed": waits.seed}
    if name == BESIDE:
        return _Arm(Way(Agent(agent), settings_of(**timed)), witnesses)
    ahead = ActionsAhead(agent, FREE[name], small=small, config={"max_tokens": GREEDY["max_tokens"]})
    return _Arm(Way(Agent(ahead), settings_of(small, free=FREE[name], **timed)), witnesses)


async def _runs(setting: Setting, small: dspy.LM, large: dspy.LM, median: int) -> dict[str, dict[str, Alone]]:
    """By arm and problem. median: of a tool call, in milliseconds."""
    waits = Waits(median / 1000, setting.seed)
    names = (BESIDE, AHEAD, *((GUARDED,) if median == TYPICAL else ()))
    arms = {name: _arm(name, small, large, waits) for name in names}
    return await in_turns(
        setting,
        large,
        f"{FOLDER}/low_load/{median}",
        {name: arm.way for name, arm in arms.items()},
        problems(setting)[: ALONE[median]],
        exact,
        beside=(small,),
        most={GUARDED: GUARDED_ALONE},
        looks={name: arm.told for name, arm in arms.items()},
        warm_up=(AHEAD,),
    )


def _seconds(found: Mapping[str, Mapping[str, Alone]], median: int) -> list[Row]:
    pairs, task = paired(found, BESIDE, AHEAD), f"seconds, tools {median} ms"
    ending = "" if median == TYPICAL else f"_{median}"
    ratio = ratio_row(pairs, BESIDE, AHEAD, task, f"ahead_latency_ratio{ending}")
    return [*latency_rows(pairs, (BESIDE, AHEAD), task, ending), ratio]


def _guesses(runs: Sequence[Alone]) -> list[Row]:
    """What came of the guesses, a run, with a typical tool."""
    each = [run.told["guesses"] for run in runs]
    called = [guesses for guesses in each if guesses["calls"]]
    return [
        Row(
            task="guesses",
            arm="calls that hit",
            figure="action_hit_rate",
            result=ratio_of_totals([(guesses["hits"], guesses["calls"]) for guesses in called]),
            setting=f"of {sum(guesses['calls'] for guesses in called)}" if called else "no run called a tool",
            problems=len(called),
        ),
        *(
            Row(
                task="guesses",
                arm=arm,
                figure=figure,
                result=mean_of([guesses[figure] for guesses in each]),
                setting="" if each else "no run came to its end",
                problems=len(each),
            )
            for arm, figure in (("seconds saved", "seconds_saved"), ("tokens wasted", "waste_tokens"))
        ),
    ]


def _answers(found: Mapping[str, Mapping[str, Alone]], tested: Mapping[str, Problem]) -> list[Row]:
    """Accuracy of both arms, and how often they gave the same: a guess changes nothing that the agent reads."""
    both = [name for name in found[BESIDE] if name in found[AHEAD]]
    given = {arm: [found[arm][name].told["answer"] for name in both] for arm in (BESIDE, AHEAD)}
    rights = {
        f"{arm}_accuracy": [is_right(tested[name], answer) for name, answer in zip(both, answers, strict=True)]
        for arm, answers in given.items()
    }
    same = {"same_answers": [one == other for one, other in zip(given[BESIDE], given[AHEAD], strict=True)]}
    return [
        Row(
            task="answers",
            arm=figure.removesuffix("_accuracy").replace("_", " "),
            figure=figure,
            result=accuracy_of([[float(one)] for one in verdicts]),
            setting="" if both else NO_PAIRS,
            problems=len(both),
        )
        for figure, verdicts in {**rights, **same}.items()
    ]


def _effects(guarded: Iterable[Alone]) -> float | None:
    """Calls of the calculator, not declared free, that guesses have started; None where no run came to its end."""
    seen = [run.told["seen"][calculate.__name__][0] for run in guarded]
    return float(sum(seen)) if seen else None


def _calls(found: Mapping[str, Mapping[str, Alone]]) -> Breakdown:
    """What the tools have counted, beside what the agent says of its guesses."""
    rows = []
    for arm, runs in found.items():
        for name in FREE[AHEAD]:
            seen = [run.told["seen"][name] for run in runs.values()]
            rows.append(
                {
                    "arm": arm.replace("_", " "),
                    "tool": name,
                    "declared free": "yes" if name in FREE.get(arm, ()) else "no",
                    "runs": len(seen),
                    "calls of guesses": sum(guessed for guessed, _ in seen),
                    "other calls": sum(asked for _, asked in seen),
                }
            )
    return Breakdown("calls", f"Calls as the tools have counted them, tools {TYPICAL} ms", tuple(rows))
