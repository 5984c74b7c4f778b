"""AsyncScaling against as many samples of the target alone: one task, two models, the same prompt and temperature.

The small model drafts, the measured one scores and takes over. Gates are calibrated on other problems: a fixed share of
each turn's chunks is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge
from reasonflow.evals.samples import Key
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, accuracy_of, answer_of, exact, is_right, mean, run_arm
from reasonflow.evals.suites.findings import Breakdown, Findings, Goal, Row, Share
from reasonflow.evals.suites.labelled import is_right as labelled_right
from reasonflow.evals.suites.labelled import labelled
from reasonflow.evals.suites.outcomes import samples_of
from reasonflow.evals.suites.ratios import Pair, ratio_of_totals
from reasonflow.evals.suites.scaled import Scaled, ScaledLines
from reasonflow.evals.suites.suite import Setting
from reasonflow.gates.scores import Perplexity
from reasonflow.optimizers.gates import Sample, within_takeover
from reasonflow.optimizers.scaling_samples import scaling_samples
from reasonflow.programs.async_scaling import TEMPERATURE, AsyncScaling
from reasonflow.programs.self_consistency import SelfConsistency
from reasonflow.runtime.engines import model_behind

FOLDER = "scaling"
SCALING, SAMPLING = "scaling", "sampling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What both sides do, and on what."""

    draft: dspy.LM
    target: dspy.LM
    problems: Sequence[Problem]
    others: Sequence[Problem]
    """What gates are calibrated on."""
    instruction: str
    n: int
    turns: int
    chunk: int
    calibration_turns: int
    """Chunks of each sample at most, there: how one ends does not matter to a takeover."""
    gates: int
    """One for each of the first turns, the last of them for all later ones."""
    least: int
    """Samples of a gate: where fewer reach its turn, the gate before it is the last one."""
    takeover: float
    """Share of a turn's chunks that the target takes over."""
    prefix: str = ""
    """Of all figures."""
    goals: tuple[Goal, ...] = ()
    judge: Judge = exact
    right: Callable[[Problem, str | None], bool] = is_right
    """Of an answer, as the judge says it."""

    def signature(self) -> type[dspy.Signature]:
        """The task, with the instruction."""
        made: type[dspy.Signature] = dspy.Signature("problem -> answer", self.instruction)
        return made

    def program(self, gates: Sequence[rf.Gate], turns: int) -> AsyncScaling:
        """Its target is the language model in use, whose seed both follow."""
        config = {"temperature": TEMPERATURE}
        return AsyncScaling(self.signature(), gates, self.n, turns, chunk=self.chunk, draft=self.draft, config=config)

    def settings(self) -> dict[str, Any]:
        """What the program was made with, as its manifest knows it."""
        return {
            "instruction": self.instruction,
            "n": self.n,
            "turns": self.turns,
            "chunk": self.chunk,
            "temperature": TEMPERATURE,
            "draft": model_behind(self.draft) or self.draft.model,
        }


@dataclass(frozen=True, slots=True)
class _Run:
    """An arm, one run a problem."""

    contest: Contest
    arm: Arm
    answers: Mapping[Key, Sequence[str | None]]
    """Of all samples; none of a run that failed."""

    @property
    def coverage(self) -> list[list[float]]:
        """(problems, 1): whether any sample is right."""
        return [[self._covers(problem, (problem.id, 0))] for problem in self.contest.problems]

    def _covers(self, problem: Problem, key: Key) -> float:
        return float(any(self.contest.right(problem, answer) for answer in self.answers.get(key, ())))


async def hold(setting: Setting, contest: Contest) -> Findings:
    """Its rows, goals and figures."""
    made, calibration = await _calibrated(setting, contest)
    with ScaledLines(setting.out / FOLDER / SCALING) as lines:
        arm = await run_arm(
            setting,
            contest.target,
            f"{FOLDER}/{SCALING}",
            made,
            contest.problems,
            judge=contest.judge,
            settings=contest.settings(),
            on_prediction=lines.ended,
        )
        runs = dict(lines.found)
    alone = await _sampling(setting, contest)
    ours = _Run(contest, arm, {key: run.answers for key, run in runs.items()})
    kept = [runs.get((problem.id, 0)) for problem in contest.problems]
    rows = (_tokens(kept, alone.arm), *_outcomes(ours, alone), *_chunks(kept))
    found = [run for run in kept if run]
    return Findings(
        rows=tuple(_named(row, contest.prefix) for row in rows),
        goals=contest.goals,
        breakdowns=(_by_turn(contest, made.gates, calibration, found),),
        more={f"{contest.prefix}{name}": value for name, value in _means(found).items()},
    )


def _named(row: Row, prefix: str) -> Row:
    """With the prefix before its figures, that of its difference among them, which begins with the arm."""
    return replace(row, figure=f"{prefix}{row.figure}", arm=f"{prefix}{row.arm}" if row.against else row.arm)


async def _sampling(setting: Setting, contest: Contest) -> _Run:
    """The target alone, with as many tokens for a sample as both together may write."""
    config = {"temperature": TEMPERATURE, "max_tokens": contest.turns * contest.chunk}
    settings: dict[str, Any] = {"n": contest.n, "config": config}
    program = SelfConsistency(contest.signature(), **settings)
    told = {**settings, "instruction": contest.instruction}
    arm = await run_arm(
        setting, contest.target, f"{FOLDER}/{SAMPLING}", program, contest.problems, judge=contest.judge, settings=told
    )
    answers = {key: [answer_of(each) for each in samples_of(calls)] for key, calls in arm.calls.items()}
    return _Run(contest, arm, answers)


async def _calibrated(setting: Setting, contest: Contest) -> tuple[AsyncScaling, list[list[Sample]]]:
    """The program with its gates, and the samples of each that they are calibrated on."""
    found = await labelled(
        setting,
        contest.target,
        f"{FOLDER}/calibration",
        contest.program(_gates(contest.gates), contest.calibration_turns),
        contest.others,
        _draw(contest),
        settings=contest.settings(),
    )
    enough = [samples for place, samples in enumerate(found) if not place or len(samples) >= contest.least]
    program = contest.program(_gates(len(enough)), contest.turns)
    with dspy.context(lm=contest.target):
        for gate, samples in zip(program.gates, enough, strict=True):
            within_takeover(gate, samples, contest.takeover, model=program.model)
    return program, enough


def _gates(count: int) -> list[rf.Gate]:
    return [rf.Gate(Perplexity()) for _ in range(count)]


def _draw(contest: Contest) -> Callable[[Sequence[dspy.Example], int], list[list[Sample]]]:
    def draw(examples: Sequence[dspy.Example], seed: int) -> list[list[Sample]]:
        with dspy.context(lm=contest.target.copy(seed=seed)):
            program = contest.program(_gates(contest.gates), contest.calibration_turns)
            return scaling_samples(program, examples, labelled_right, seed=seed)

    return draw


# Rows -----------------------------------------------------------------------------------------------------------------


def _tokens(kept: Sequence[Scaled | None], sampling: Arm) -> Row:
    """Over the problems whose two runs came to their end."""
    pairs = [
        (float(sample.output_tokens), float(run.target_tokens))
        for run, sample in zip(kept, sampling.samples, strict=True)
        if run is not None and not sample.error and sample.output_tokens is not None
    ]
    above, below = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs])
    why = "" if below else "; nothing to divide by: the target wrote nothing" if pairs else "; no pair of runs"
    return Row(
        task="tokens",
        arm=f"{SAMPLING} over {SCALING}, the target's",
        figure="target_tokens_ratio",
        result=ratio_of_totals(pairs),
        setting=f"{above or 0:,.0f} over {below or 0:,.0f}{why}",
        problems=len(pairs),
    )


def _outcomes(ours: _Run, alone: _Run) -> list[Row]:
    rows = []
    for what, mine, theirs in (
        ("coverage", ours.coverage, alone.coverage),
        ("majority", ours.arm.verdicts, alone.arm.verdicts),
    ):
        for arm, run, verdicts in ((SAMPLING, alone, theirs), (SCALING, ours, mine)):
            against = SAMPLING if arm == SCALING else ""
            rows.append(
                Row(
                    task=what,
                    arm=arm,
                    figure=f"{arm}_{what}",
                    result=accuracy_of(verdicts),
                    setting=f"n={ours.contest.n}",
                    against=against,
                    difference=paired_difference(mine, theirs) if against else None,
                    problems=len(verdicts),
                    total_tokens=run.arm.total_tokens,
                    sequential_tokens=run.arm.sequential_tokens,
                )
            )
    return rows


def _chunks(kept: Sequence[Scaled | None]) -> tuple[Row, Row]:
    decided: list[Pair] = []
    times: list[Pair] = []
    for run in kept:
        if run is None:
            continue
        decided.append((sum(k for _, k in run.chunks.values()), sum(d for d, _ in run.chunks.values())))
        if run.idle_s is not None and run.own_s is not None:
            times.append((run.idle_s, run.own_s))
    return (
        Row(
            task="chunks",
            arm="accepted",
            figure="acceptance",
            result=ratio_of_totals(decided),
            setting=f"{sum(pair[1] for pair in decided):,.0f} chunks",
            problems=len(decided),
        ),
        Row(
            task="time",
            arm="idle share",
            figure="idle_share",
            result=ratio_of_totals(times),
            setting=f"of {sum(pair[1] for pair in times):,.1f} s" if times else "no run made all of its calls itself",
            problems=len(times),
        ),
    )


def _by_turn(
    contest: Contest, gates: Sequence[rf.Gate], calibration: Sequence[Sequence[Sample]], runs: Sequence[Scaled]
) -> Breakdown:
    turns = sorted({*range(1, len(gates) + 1), *(turn for run in runs for turn in run.chunks)})
    rows = []
    for turn in turns:
        place = min(turn, len(gates)) - 1
        decided = sum(run.chunks.get(turn, (0, 0))[0] for run in runs)
        kept = sum(run.chunks.get(turn, (0, 0))[1] for run in runs)
        rows.append(
            {
                "turn": turn,
                "threshold": f"{gates[place].threshold:.4f}",
                "calibrated on": len(calibration[place]),
                "chunks": decided,
                "accepted": Share(kept / decided if decided else None, decided),
            }
        )
    return Breakdown("scaling_by_turn", f"Chunks of the draft, by turn; takeover {contest.takeover:g}", tuple(rows))


def _means(runs: Sequence[Scaled]) -> dict[str, float | None]:
    """Tokens of a problem's run."""
    return {
        "scored_tokens": mean([float(run.scored_tokens) for run in runs]),
        "target_tokens": mean([float(run.target_tokens) for run in runs]),
        "draft_tokens": mean([float(run.draft_tokens) for run in runs]),
    }
