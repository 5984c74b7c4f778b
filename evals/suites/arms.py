"""One arm of a suite: a program over problems in a folder of its own, with its samples and the texts behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from reasonflow.evals.comparison import decide
from reasonflow.evals.dataset import Problem
from reasonflow.evals.judging import Judge, Verdict, required_answer
from reasonflow.evals.progress import Progress
from reasonflow.evals.runner import Evaluation, evaluate
from reasonflow.evals.samples import Key, Sample
from reasonflow.evals.session import OnPrediction
from reasonflow.evals.statistics import Interval, accuracy
from reasonflow.evals.suites.calls import Call, CallTexts
from reasonflow.evals.suites.suite import Setting
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.thinking import split_thinking


@dataclass(frozen=True, slots=True)
class Arm:
    """What an evaluation gave, one sample a problem, in the problems' order."""

    problems: Sequence[Problem]
    evaluation: Evaluation
    calls: Mapping[Key, tuple[Call, ...]]
    """The texts of each run; nothing of runs that failed."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.evaluation.samples

    def runs(self) -> list[tuple[Problem, Sample, tuple[Call, ...]]]:
        """Each problem with its sample and the calls of its run."""
        return [(p, s, self.calls.get(s.key, ())) for p, s in zip(self.problems, self.samples, strict=True)]

    @property
    def verdicts(self) -> list[list[float]]:
        """(problems, 1): right or wrong."""
        return [[float(sample.correct)] for sample in self.samples]

    @property
    def total_tokens(self) -> float | None:
        return mean([sample.total_tokens for sample in self.samples if sample.total_tokens is not None])

    @property
    def sequential_tokens(self) -> float | None:
        return mean([sample.sequential_tokens for sample in self.samples if sample.sequential_tokens is not None])


@dataclass(frozen=True, slots=True)
class Way:
    """A program, and what it was made with, as its manifest knows it."""

    program: dspy.Module
    settings: Mapping[str, Any]


def way(program: type[dspy.Module], **settings: Any) -> Way:
    """The program of these settings."""
    return Way(program(**settings), settings)


async def run_arm(
    setting: Setting,
    lm: dspy.LM,
    folder: str,
    program: dspy.Module,
    problems: Sequence[Problem],
    *,
    judge: Judge | None = None,
    settings: Mapping[str, Any] | None = None,
    on_prediction: OnPrediction | None = None,
) -> Arm:
    """Evaluate the program, or go on with it, in `setting.out / folder`. judge: None compares the answers.

    settings: what the program was made with, as its manifest knows it. on_prediction: is told what every new run gave,
    before its sample is recorded. Raises what the runner raises.
    """
    setting.say(f"{folder}: {type(program).__name__} on {len(problems)} problems")
    progress = Progress(setting.console, len(problems), folder)
    where = setting.out / folder
    audience = replace(progress.audience, on_prediction=on_prediction)
    with CallTexts(where, audience) as texts, progress:
        evaluation = await evaluate(
            program,
            problems,
            lm=lm,
            seed=setting.seed,
            out=where,
            concurrency=setting.concurrency,
            judge=judge or exact,
            audience=texts.audience,
            benchmark=folder,
            settings=settings,
        )
    return Arm(problems, evaluation, texts.found)


async def exact(problem: Problem, prediction: Any) -> Verdict:
    """Compares answers that are numbers: no algebra, what is no number is wrong."""
    return Verdict(correct=is_right(problem, required_answer(prediction)))


def is_right(problem: Problem, answer: str | None) -> bool:
    """Whether that answer is the problem's."""
    return answer is not None and decide(answer, problem.answer) is True


def answer_of(call: Call) -> str | None:
    """The final answer of a solution, read as a program's call site reads it."""
    return extract_answer(solution_of(call)).answer


def solution_of(call: Call) -> str:
    """A call's text without its thinking, as later prompts see it."""
    return split_thinking(call.text)[1]


def accuracy_of(verdicts: Sequence[Sequence[float]]) -> Interval | None:
    """The accuracy over problems with their samples; None of none."""
    if not verdicts:
        return None
    found = accuracy(verdicts)
    return Interval(found.value, found.low, found.high)


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
