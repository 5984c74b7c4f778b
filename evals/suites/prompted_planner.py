"""The part `planner` of the suite `speculation-prompted`: what a prompted small model saves an agent, and the law.

Gates are calibrated on the first half of the problems, and all else is of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.judging import Judge, Verdict, by_answer, required_answer
from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, Way, accuracy_of, mean, run_arm
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row
from reasonflow.evals.suites.latency_law import Law, Timed, law_of
from reasonflow.evals.suites.low_load import Alone, in_turns
from reasonflow.evals.suites.planner_gate import Judging
from reasonflow.evals.suites.prompted_agent import AGENTS, CALLS, REASONING, TOOLS, Agent, agent_of, settings_of
from reasonflow.evals.suites.prompted_choice import Choice, choose
from reasonflow.evals.suites.prompted_small import SCORED, Samples
from reasonflow.evals.suites.ratios import ratio_of_totals
from reasonflow.evals.suites.seconds import latency_rows, paired, ratio_row
from reasonflow.evals.suites.spec_planner import Played
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.waits import Waits
from reasonflow.programs.speculative import SMALL, SpeculativePlanner
from reasonflow.runtime.engines import model_behind
from reasonflow.runtime.record import Span

FOLDER = "planner"
ALONE = "agent"
JUDGED, UNJUDGED = "judged", "unjudged"
PLANNERS = (JUDGED, UNJUDGED)
"""With the large model's judgement first, as published, and without: then every problem is the small model's first."""
MEDIAN_S = 0.15
"""Of a tool call at low load."""
AT_LOW_LOAD = 10
"""Problems of each agent there, at most: the first ones."""
MOST: Mapping[str, int] = {TOOLS: 100, REASONING: 200}
"""Problems of the accuracy, at most, by agent: one with tools takes many calls."""
SIDE_BY_SIDE = 16
"""Runs of an agent with tools at once: with more they wait in DSPy, not in the engine."""
TOLD = "planned.jsonl"
NEAR = (0.85, 1.15)
"""The law over what was measured."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the part is about."""

    problems: Sequence[Problem]
    samples: Samples
    """Of all problems, in their order."""
    small: dspy.LM
    large: dspy.LM
    grader: Grader

    @property
    def half(self) -> int:
        return len(self.problems) // 2

    @property
    def judge(self) -> Judge:
        return by_answer(self.grader)

    def calibrated(self, among: Sequence[int], model: str) -> Choice:
        """On the problems at these places."""
        return choose({scored: [self.samples[scored][place] for place in among] for scored in SCORED}, model)


@dataclass(frozen=True, slots=True)
class _Made:
    """Makes the arms."""

    task: Task
    choices: Mapping[str, Choice]
    """By planner."""

    def planner(self, arm: str, agent: dspy.Module) -> SpeculativePlanner:
        choice, task = self.choices[arm], self.task
        return choice.scored.planner(
            choice.gate,
            agent=agent,
            calls=None if isinstance(agent, (rf.Program, Played)) else CALLS,
            small=task.small,
            large=task.large,
            judge=arm == JUDGED,
        )

    def way(self, arm: str, kind: str, waits: Waits | None = None, agent: dspy.Module | None = None) -> Way:
        """agent: in place of a new one of that kind."""
        agent = agent or agent_of(kind, self.task.large, waits)
        timed = {} if waits is None else {"median_s": waits.median_s, "tool_seed": waits.seed}
        if arm == ALONE:
            return Way(Agent(agent), settings_of(kind, **timed))
        choice = self.choices[arm]
        told = {"gate": choice.words, "threshold": choice.gate.threshold, "small": model_behind(self.task.small)}
        return Way(self.planner(arm, agent), settings_of(kind, **timed, **told))


async def measure(setting: Setting, task: Task) -> Findings:
    """Its rows, goals and figures."""
    free = await _let_through(setting, task)
    model = model_behind(task.small)
    choices = {JUDGED: task.calibrated(free, model), UNJUDGED: task.calibrated(range(task.half), model)}
    made = _Made(task, choices)
    found = []
    for kind in AGENTS:
        found.append(await _accuracy(setting, made, kind))
        found.append(await _latency(setting, made, kind))
    return Findings(
        rows=tuple(row for each in found for row in each.rows),
        goals=tuple(
            Goal(figure=f"prompted_{kind}_{arm}_law_over_measured", least=NEAR[0], most=NEAR[1])
            for kind in AGENTS
            for arm in PLANNERS
        ),
        breakdowns=(
            *(_tried(arm, choices[arm], len(free) if arm == JUDGED else task.half) for arm in PLANNERS),
            *(breakdown for each in found for breakdown in each.breakdowns),
        ),
        more={f"prompted_{arm}_gate_alpha": choices[arm].alpha for arm in PLANNERS}
        | {name: value for each in found for name, value in each.more.items()},
    )


def _tried(arm: str, choice: Choice, count: int) -> Breakdown:
    title = f"Gates of the {arm} planner, calibrated on {count} problems: {choice.words}"
    return Breakdown(f"{arm}_calibration", title, choice.table)


async def _let_through(setting: Setting, task: Task) -> list[int]:
    """Places of the first half's problems that the judge lets through: what a judged planner's gate will see."""
    asked = task.problems[: task.half]
    scored = SCORED[0]
    judging = Judging(scored.planner(scored.gate(), agent=rf.ChainOfThought(), small=task.small, large=task.large))
    arm = await run_arm(setting, task.large, f"{FOLDER}/judge", judging, asked, judge=_let)
    return [place for place, sample in enumerate(arm.samples) if sample.correct]


async def _let(problem: Problem, prediction: Any) -> Verdict:
    """Counts what is let through, right or wrong."""
    return Verdict(correct=required_answer(prediction) == "Yes")


# Accuracy -------------------------------------------------------------------------------------------------------------


async def _accuracy(setting: Setting, made: _Made, kind: str) -> Findings:
    """All arms side by side. What falls through is answered as the agent alone has answered it: all is greedy."""
    task = made.task
    tested = task.problems[task.half :][: MOST[kind]]
    beside = replace(setting, concurrency=setting.concurrency or SIDE_BY_SIDE) if kind == TOOLS else setting
    way = made.way(ALONE, kind)
    alone = await run_arm(
        beside, task.large, f"{FOLDER}/{kind}/{ALONE}", way.program, tested, judge=task.judge, settings=way.settings
    )
    rows, more = [_right(kind, ALONE, alone)], dict[str, float | None]()
    for arm in PLANNERS:
        ours, lines = await _planned(setting, made, kind, arm, alone)
        ended = [lines[sample.key] for sample in ours.samples if sample.key in lines]
        free = [line for line in ended if line["small_s"] is not None]
        rows += [
            _right(kind, arm, ours),
            Row(
                task=f"accuracy, {kind}",
                arm=f"{arm} minus {ALONE}",
                figure=f"prompted_{kind}_{arm}_minus_{ALONE}",
                result=paired_difference(ours.verdicts, alone.verdicts),
                setting=made.choices[arm].words,
                problems=len(tested),
            ),
            _share(kind, arm, "beta", [float(line["small_s"] is not None) for line in ended]),
            _share(kind, arm, "alpha", [float(line["source"] == SMALL) for line in free]),
        ]
        kept = [sample.correct for sample in ours.samples if lines.get(sample.key, {}).get("source") == SMALL]
        more[f"prompted_{kind}_{arm}_errors_of_accepted"] = mean([float(not right) for right in kept])
    return Findings(rows=tuple(rows), more=more)


async def _planned(
    setting: Setting, made: _Made, kind: str, arm: str, alone: Arm
) -> tuple[Arm, Mapping[Key, Mapping[str, Any]]]:
    folder, task = f"{FOLDER}/{kind}/{arm}", made.task
    way = made.way(arm, kind, agent=Played(alone))
    with RunLines(setting.out / folder / TOLD) as lines:

        def ended(key: Key, prediction: Any) -> None:
            lines.keep(key, told(prediction))

        found = await run_arm(
            setting,
            task.large,
            folder,
            way.program,
            alone.problems,
            judge=task.judge,
            settings=way.settings,
            on_prediction=ended,
        )
        return found, lines.rows


def told(prediction: Any) -> dict[str, Any]:
    """Who answered, and the seconds of the judge's call and of all the small model's; None for what did not run."""
    ended = [span for span in prediction.run.spans if span.outcome == "done" and not span.inner]
    return {
        "source": prediction.get("source"),
        "judge_s": _seconds([span for span in ended if _site(span) == "judge"]),
        "small_s": _seconds([span for span in ended if _site(span) == "small"]),
    }


def _site(span: Span) -> str:
    """The planner's call site, or its part with call sites of its own."""
    return span.node.rpartition("/")[2].partition(".")[0].partition("#")[0]


def _seconds(spans: Sequence[Span]) -> float | None:
    """From the first one's start to the last one's end; None of none."""
    if not spans:
        return None
    return max(span.started_s + span.total_s for span in spans) - min(span.started_s for span in spans)


def _right(kind: str, arm: str, found: Arm) -> Row:
    return Row(
        task=f"accuracy, {kind}",
        arm=arm,
        figure=f"prompted_{kind}_{arm}_accuracy",
        result=accuracy_of(found.verdicts),
        problems=len(found.verdicts),
        total_tokens=found.total_tokens if arm == ALONE else None,
        sequential_tokens=found.sequential_tokens if arm == ALONE else None,
    )


def _share(kind: str, arm: str, figure: str, shares: Sequence[float]) -> Row:
    return Row(
        task=f"{'judged free' if figure == 'beta' else 'accepted of those'}, {kind}",
        arm=arm,
        figure=f"prompted_{kind}_{arm}_{figure}",
        result=accuracy_of([[share] for share in shares]),
        setting="" if shares else "none was judged free" if figure == "alpha" else "no run came to its end",
        problems=len(shares),
    )


# Latency --------------------------------------------------------------------------------------------------------------


async def _latency(setting: Setting, made: _Made, kind: str) -> Findings:
    """Seconds of a run with nothing else on the engines."""
    waits, task = Waits(MEDIAN_S, setting.seed), made.task
    arms = (ALONE, *PLANNERS)
    found = await in_turns(
        setting,
        task.large,
        f"{FOLDER}/low_load/{kind}",
        {arm: made.way(arm, kind, waits) for arm in arms},
        task.problems[task.half :][:AT_LOW_LOAD],
        task.judge,
        beside=(task.small,),
        looks=dict.fromkeys(PLANNERS, told),
    )
    rows, terms, more = list[Row](), list[Mapping[str, Any]](), dict[str, float | None]()
    for arm in PLANNERS:
        pairs = paired(found, ALONE, arm)
        law = law_of([_timed(arm, *pair) for pair in pairs])
        measured = mean([ours.wall_s for _, ours in pairs])
        seconds, figure = f"seconds, {kind}", f"prompted_{kind}_{arm}"
        latency = latency_rows(pairs, (ALONE, arm), seconds, "_latency")
        rows += [
            replace(latency[0], figure=f"{figure}_{ALONE}_latency", arm=f"{ALONE}, beside {arm}"),
            replace(latency[1], figure=f"{figure}_latency"),
            ratio_row(pairs, ALONE, arm, seconds, f"{figure}_latency_ratio"),
            Row(
                task=f"law, {kind}",
                arm=f"law over measured, {arm}",
                figure=f"{figure}_law_over_measured",
                result=None
                if law.latency is None
                else ratio_of_totals([(law.latency, ours.wall_s) for _, ours in pairs]),
                setting="" if law.latency is not None else "nothing to take it from",
                problems=len(pairs),
            ),
        ]
        terms.append(_terms(arm, law, measured))
        more |= {f"{figure}_law_latency": law.latency, f"{figure}_law_latency_of_fallen": law.latency_of_fallen}
    title = f"The law's terms, {kind}; means, in seconds"
    return Findings(rows=tuple(rows), breakdowns=(Breakdown(f"{kind}_law", title, tuple(terms)),), more=more)


def _timed(arm: str, alone: Alone, ours: Alone) -> Timed:
    """Nobody judges before a planner without a judge: that takes no time."""
    said = ours.told
    judge_s = said["judge_s"] if arm == JUDGED else 0.0
    return Timed(alone.wall_s, judge_s, said["small_s"], said["source"] == SMALL)


def _terms(arm: str, law: Law, measured: float | None) -> Mapping[str, Any]:
    row = {"beta": law.beta, "alpha": law.alpha, "judge": law.judge_s, "small": law.small_s, "agent": law.agent_s}
    row |= {"agent of fallen": law.fallen_s, "law": law.latency, "law of fallen": law.latency_of_fallen}
    row |= {"measured": measured}
    return {"planner": arm} | {name: None if each is None else round(each, 3) for name, each in row.items()}
