"""The part `scaling` of the suite `speculation`: AsyncScaling against as many samples of the target alone.

The twin drafts, the measured model scores and takes over; the same prompt, temperature and number of samples on both
sides. Gates are calibrated on other problems of the mix: a fixed share of each turn's chunks is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.samples import Key
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, accuracy_of, answer_of, is_right, mean, run_arm
from reasonflow.evals.suites.closing import close
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
TWIN = "embedded-draft"
TASK = "graphmath:mid"
OTHERS = f"{TASK},seed=1"
"""What gates are calibrated on."""
SCALING, SAMPLING = "scaling", "sampling"
INSTRUCTION = "Give a full solution of the problem. Be careful."
"""Without it the twin answers at once; it was trained to write its solutions so."""
N, TURNS, CHUNK = 8, 16, 48
MOST = 20
"""Problems, at most: the first ones."""
CALIBRATION, CALIBRATION_TURNS = 100, 6
"""Problems to calibrate on, and chunks of each at most: how a sample ends does not matter to a takeover."""
GATES = 4
"""One for each of the first turns, the last of them for all later ones."""
LEAST = 30
"""Samples of a gate: where fewer reach its turn, the gate before it is the last one."""
TAKEOVER = 0.4
"""Share of a turn's chunks that the target takes over: what the published 0.6 percentile comes to."""
GOALS = (
    Goal(figure="target_tokens_ratio", least=2.0),
    Goal(figure="scaling_minus_sampling_coverage", least=-0.02),
    Goal(figure="scaling_minus_sampling_majority", least=-0.02),
    Goal(figure="idle_share", most=0.02),
)


@dataclass(frozen=True, slots=True)
class _Run:
    """An arm, one run a problem."""

    problems: Sequence[Problem]
    arm: Arm
    answers: Mapping[Key, Sequence[str | None]]
    """Of all samples; none of a run that failed."""

    @property
    def coverage(self) -> list[list[float]]:
        """(problems, 1): whether any sample is right."""
        return [[self._covers(problem, (problem.id, 0))] for problem in self.problems]

    def _covers(self, problem: Problem, key: Key) -> float:
        return float(any(is_right(problem, answer) for answer in self.answers.get(key, ())))


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    problems = load(TASK, limit=min(setting.limit, MOST))
    twin, lm = setting.open(TWIN), setting.open(setting.model)
    try:
        made, calibration = await _calibrated(setting, twin, lm)
        settings = _settings(twin)
        with ScaledLines(setting.out / FOLDER / SCALING) as lines:
            arm = await run_arm(
                setting, lm, f"{FOLDER}/{SCALING}", made, problems, settings=settings, on_prediction=lines.ended
            )
            runs = dict(lines.found)
        alone = await _sampling(setting, lm, problems)
    finally:
        await close(twin)
        await close(lm)
    ours = _Run(problems, arm, {key: run.answers for key, run in runs.items()})
    kept = [runs.get((problem.id, 0)) for problem in problems]
    return Findings(
        rows=(_tokens(kept, alone.arm), *_outcomes(ours, alone), *_chunks(kept)),
        goals=GOALS,
        breakdowns=(_by_turn(made.gates, calibration, [run for run in kept if run]),),
        more=_means([run for run in kept if run]),
    )


# Arms -----------------------------------------------------------------------------------------------------------------


def _signature() -> type[dspy.Signature]:
    made: type[dspy.Signature] = dspy.Signature("problem -> answer", INSTRUCTION)
    return made


def _program(gates: Sequence[rf.Gate], twin: dspy.LM, turns: int = TURNS) -> AsyncScaling:
    """Its target is the language model in use, whose seed both follow."""
    return AsyncScaling(_signature(), gates, N, turns, chunk=CHUNK, draft=twin, config={"temperature": TEMPERATURE})


def _settings(twin: dspy.LM) -> dict[str, Any]:
    """What the program was made with, as its manifest knows it."""
    return {
        "instruction": INSTRUCTION,
        "n": N,
        "turns": TURNS,
        "chunk": CHUNK,
        "temperature": TEMPERATURE,
        "draft": model_behind(twin) or twin.model,
    }


async def _sampling(setting: Setting, lm: dspy.LM, problems: Sequence[Problem]) -> _Run:
    """The target alone, with as many tokens for a sample as both together may write."""
    settings: dict[str, Any] = {"n": N, "config": {"temperature": TEMPERATURE, "max_tokens": TURNS * CHUNK}}
    program = SelfConsistency(_signature(), **settings)
    told = {**settings, "instruction": INSTRUCTION}
    arm = await run_arm(setting, lm, f"{FOLDER}/{SAMPLING}", program, problems, settings=told)
    return _Run(
        problems, arm, {key: [answer_of(each) for each in samples_of(calls)] for key, calls in arm.calls.items()}
    )


async def _calibrated(setting: Setting, twin: dspy.LM, lm: dspy.LM) -> tuple[AsyncScaling, list[list[Sample]]]:
    """The program with its gates, and the samples of each that they are calibrated on."""
    found = await labelled(
        setting,
        lm,
        f"{FOLDER}/calibration",
        _program(_gates(GATES), twin, CALIBRATION_TURNS),
        load(OTHERS, limit=CALIBRATION),
        _draw(twin, lm),
        settings=_settings(twin),
    )
    enough = [samples for place, samples in enumerate(found) if not place or len(samples) >= LEAST]
    program = _program(_gates(len(enough)), twin)
    with dspy.context(lm=lm):
        for gate, samples in zip(program.gates, enough, strict=True):
            within_takeover(gate, samples, TAKEOVER, model=program.model)
    return program, enough


def _gates(count: int) -> list[rf.Gate]:
    return [rf.Gate(Perplexity()) for _ in range(count)]


def _draw(twin: dspy.LM, lm: dspy.LM) -> Callable[[Sequence[dspy.Example], int], list[list[Sample]]]:
    def draw(examples: Sequence[dspy.Example], seed: int) -> list[list[Sample]]:
        with dspy.context(lm=lm.copy(seed=seed)):
            program = _program(_gates(GATES), twin, CALIBRATION_TURNS)
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
                    setting=f"n={N}",
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


def _by_turn(gates: Sequence[rf.Gate], calibration: Sequence[Sequence[Sample]], runs: Sequence[Scaled]) -> Breakdown:
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
    return Breakdown("scaling_by_turn", f"Chunks of the draft, by turn; takeover {TAKEOVER:g}", tuple(rows))


def _means(runs: Sequence[Scaled]) -> dict[str, float | None]:
    """Tokens of a problem's run."""
    return {
        "scored_tokens": mean([float(run.scored_tokens) for run in runs]),
        "target_tokens": mean([float(run.target_tokens) for run in runs]),
        "draft_tokens": mean([float(run.draft_tokens) for run in runs]),
    }
