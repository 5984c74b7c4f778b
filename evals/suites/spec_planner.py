"""The part `planner` of the suite `speculation`: what a small model's answers save an agent with slow tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key
from reasonflow.evals.statistics import Interval, paired_difference
from reasonflow.evals.suites import planner_gate
from reasonflow.evals.suites.arms import Arm, Way, accuracy_of, exact, mean, run_arm
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row
from reasonflow.evals.suites.latency_law import Law, Timed, law_of
from reasonflow.evals.suites.low_load import Alone, in_turns
from reasonflow.evals.suites.ratios import ratio_of_totals
from reasonflow.evals.suites.seconds import latency_rows, paired, ratio_row
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.tool_agent import (
    CALLS,
    SIGNATURE,
    Agent,
    agent_of,
    open_both,
    problems,
    settings_of,
)
from reasonflow.evals.suites.waits import Waits, slow
from reasonflow.evals.tasks.tools import TOOLS
from reasonflow.programs.speculative import SMALL, SpeculativePlanner

FOLDER = "planner"
AGENT, SPECULATIVE, HEDGED = "agent", "speculative", "hedged"
TYPICAL = 150
"""Milliseconds of a tool call, the median, whose figures have no number in their names."""
ALONE: Mapping[int, int] = {TYPICAL: 14, 0: 5, 1000: 5}
"""By the median milliseconds of a tool call, problems at low load at most: the first ones."""
HEDGED_ALONE = 4
"""Of those with a typical tool, as many are run hedged, too."""
TOLD = "planned.jsonl"
NO_ANSWER = "none"
"""No number: it is wrong."""
SIDE_BY_SIDE = 12
"""Runs of an arm at once, where no other number is given: with more they wait in DSPy, not in the engine."""
GOALS = (
    Goal(figure="latency_ratio", least=1.5),
    Goal(figure="speculative_minus_agent", least=-0.01),
    Goal(figure="law_over_measured", least=0.85, most=1.15),
)


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    small, large = open_both(setting)
    try:
        made = _Made(small, large)
        gate, calibration = await planner_gate.calibrated(setting, small, large, made.planner)
        accuracy = await _accuracy(setting, made, gate)
        latency = [await _latency(setting, made, gate, median) for median in ALONE]
    finally:
        await close(small)
        await close(large)
    found = [accuracy, *latency]
    return Findings(
        rows=tuple(row for each in found for row in each.rows),
        goals=GOALS,
        breakdowns=(calibration, *(breakdown for each in found for breakdown in each.breakdowns)),
        more={name: value for each in found for name, value in each.more.items()},
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """Makes the arms, on these models."""

    small: dspy.LM
    large: dspy.LM

    def planner(self, gate: rf.Gate, waits: Waits | None = None, *, hedge: bool = False) -> SpeculativePlanner:
        """The planner before the agent."""
        return SpeculativePlanner(
            SIGNATURE,
            gate,
            agent=agent_of(_tools(waits), self.large),
            calls=CALLS,
            small=self.small,
            large=self.large,
            hedge=hedge,
        )

    def played(self, gate: rf.Gate, agent: Arm) -> Way:
        """The planner before an agent whose runs are known."""
        program = SpeculativePlanner(SIGNATURE, gate, agent=Played(agent), small=self.small, large=self.large)
        return Way(program, settings_of(self.small, hedge=False))

    def way(self, arm: str, gate: rf.Gate, waits: Waits | None = None) -> Way:
        """The program of an arm, as its manifest knows it."""
        timed = {} if waits is None else {"median_s": waits.median_s, "tool_seed": waits.seed}
        if arm == AGENT:
            return Way(Agent(agent_of(_tools(waits), self.large)), settings_of(**timed))
        hedge = arm == HEDGED
        return Way(self.planner(gate, waits, hedge=hedge), settings_of(self.small, hedge=hedge, **timed))


class Played(dspy.Module):
    """An agent that gives what an arm's runs gave, by problem, and a wrong answer for those that failed.

    So the planner's run comes to its end, and what its judge and gate have said counts, too.
    """

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        self.by_problem = {problem.inputs["problem"]: sample for problem, sample, _ in arm.runs()}

    def forward(self, problem: str) -> dspy.Prediction:
        """Its answer; that there is none where it failed."""
        answer = self.by_problem[problem].answer
        return dspy.Prediction(answer=NO_ANSWER if answer is None else answer)


def _tools(waits: Waits | None) -> list[Any]:
    return list(TOOLS) if waits is None else [slow(tool, waits) for tool in TOOLS]


def told(prediction: Any) -> dict[str, Any]:
    """Who answered, and the seconds of the judge's call and of the small model's; None for a call that did not end."""
    ended = {span.node.rpartition("/")[2]: span.total_s for span in prediction.run.spans if span.outcome == "done"}
    source = prediction.get("source")
    return {"source": source, "judge_s": ended.get("judge"), "small_s": ended.get("small")}


# Accuracy -------------------------------------------------------------------------------------------------------------


async def _accuracy(setting: Setting, made: _Made, gate: rf.Gate) -> Findings:
    """Both arms on all problems, side by side, with tools that take no time.

    All is greedy: what falls through is answered as the agent alone has answered it, and is not computed again.
    """
    tested = problems(setting)
    agent, _ = await _run(setting, made.large, AGENT, made.way(AGENT, gate), tested)
    ours, lines = await _run(setting, made.large, SPECULATIVE, made.played(gate, agent), tested)
    found = {AGENT: agent, SPECULATIVE: ours}
    difference = paired_difference(ours.verdicts, agent.verdicts)
    ended = [lines[sample.key] for sample in ours.samples if sample.key in lines]
    free = [line for line in ended if line["small_s"] is not None]
    accepted = [[float(line["source"] == SMALL)] for line in free]
    return Findings(
        rows=(
            *(
                Row(
                    task="accuracy",
                    arm=arm,
                    figure=f"{arm}_accuracy",
                    result=accuracy_of(each.verdicts),
                    problems=len(each.verdicts),
                    total_tokens=each.total_tokens if arm == AGENT else None,
                    sequential_tokens=each.sequential_tokens if arm == AGENT else None,
                )
                for arm, each in found.items()
            ),
            Row(
                task="accuracy",
                arm=f"{SPECULATIVE} minus {AGENT}",
                figure="speculative_minus_agent",
                result=difference,
                setting=f"alpha {planner_gate.ALPHA:g}",
                problems=len(tested),
            ),
            Row(
                task="judged free",
                arm=SPECULATIVE,
                figure="beta",
                result=accuracy_of([[float(line["small_s"] is not None)] for line in ended]),
                setting="" if ended else "no run came to its end",
                problems=len(ended),
            ),
            Row(
                task="accepted of those",
                arm=SPECULATIVE,
                figure="alpha",
                result=accuracy_of(accepted),
                setting="" if free else "none was judged free",
                problems=len(free),
            ),
        ),
    )


async def _run(
    setting: Setting, large: dspy.LM, arm: str, way: Way, tested: Sequence[Problem]
) -> tuple[Arm, Mapping[Key, Mapping[str, Any]]]:
    folder = f"{FOLDER}/accuracy/{arm}"
    with RunLines(setting.out / folder / TOLD) as lines:

        def ended(key: Key, prediction: Any) -> None:
            lines.keep(key, told(prediction))

        beside = replace(setting, concurrency=setting.concurrency or SIDE_BY_SIDE)
        found = await run_arm(beside, large, folder, way.program, tested, settings=way.settings, on_prediction=ended)
        return found, lines.rows


# Latency --------------------------------------------------------------------------------------------------------------


async def _latency(setting: Setting, made: _Made, gate: rf.Gate, median: int) -> Findings:
    """Seconds of a run with nothing else on the engines. median: of a tool call, in milliseconds."""
    waits = Waits(median / 1000, setting.seed)
    arms = (AGENT, SPECULATIVE, *((HEDGED,) if median == TYPICAL else ()))
    found = await in_turns(
        setting,
        made.large,
        f"{FOLDER}/low_load/{median}",
        {arm: made.way(arm, gate, waits) for arm in arms},
        problems(setting)[: ALONE[median]],
        exact,
        beside=(made.small,),
        most={HEDGED: HEDGED_ALONE},
        looks=dict.fromkeys(arms, told),
        warm_up=(SPECULATIVE,),
    )
    return _typical(found) if median == TYPICAL else _other(found, median)


def _typical(found: Mapping[str, Mapping[str, Alone]]) -> Findings:
    pairs = paired(found, AGENT, SPECULATIVE)
    law = law_of([_timed(*pair) for pair in pairs])
    measured = mean([ours.wall_s for _, ours in pairs])
    return Findings(
        rows=(
            *latency_rows(pairs, (AGENT, SPECULATIVE), f"seconds, tools {TYPICAL} ms", ""),
            ratio_row(pairs, AGENT, SPECULATIVE, f"seconds, tools {TYPICAL} ms", "latency_ratio"),
            _hedged(found),
            Row(
                task="law",
                arm="law over measured",
                figure="law_over_measured",
                result=_law_ratio(pairs, law.latency),
                setting="" if law.latency is not None else "no judge's call to take it from",
                problems=len(pairs),
            ),
        ),
        breakdowns=(_terms(law, measured),),
        more={
            "law_latency": law.latency,
            "law_latency_of_fallen": law.latency_of_fallen,
            "hedged_latency": mean([run.wall_s for run in found[HEDGED].values()]),
        },
    )


def _other(found: Mapping[str, Mapping[str, Alone]], median: int) -> Findings:
    pairs, task = paired(found, AGENT, SPECULATIVE), f"seconds, tools {median} ms"
    return Findings(
        rows=(
            *latency_rows(pairs, (AGENT, SPECULATIVE), task, f"_{median}"),
            ratio_row(pairs, AGENT, SPECULATIVE, task, f"latency_ratio_{median}"),
        )
    )


def _hedged(found: Mapping[str, Mapping[str, Alone]]) -> Row:
    return ratio_row(
        paired(found, AGENT, HEDGED), AGENT, HEDGED, f"seconds, tools {TYPICAL} ms", "hedged_latency_ratio"
    )


def _timed(agent: Alone, ours: Alone) -> Timed:
    said = ours.told
    return Timed(agent.wall_s, said["judge_s"], said["small_s"], said["source"] == SMALL)


def _law_ratio(pairs: Sequence[tuple[Alone, ...]], latency: float | None) -> Interval | None:
    """The law's seconds over the measured mean, with the interval that this has over the problems."""
    return None if latency is None else ratio_of_totals([(latency, ours.wall_s) for _, ours in pairs])


def _terms(law: Law, measured: float | None) -> Breakdown:
    rows = (
        {"beta": law.beta, "alpha": law.alpha, "judge": law.judge_s, "small": law.small_s, "agent": law.agent_s}
        | {"agent of fallen": law.fallen_s, "law": law.latency, "law of fallen": law.latency_of_fallen}
        | {"measured": measured},
    )
    shown = tuple({name: None if each is None else round(each, 3) for name, each in row.items()} for row in rows)
    return Breakdown("law", f"The law's terms in these runs, tools {TYPICAL} ms; means, in seconds", shown)
