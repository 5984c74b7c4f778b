"""What says how good a candidate is: a rule, a model's own yes or no, or whatever has the method of a `Verifier`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import dspy

import reasonflow as rf
from reasonflow.errors import InputError, RunError
from reasonflow.language.signatures import read_signature
from reasonflow.programs.refinement import about, unused

_JUDGE = "The candidate is an attempt at the problem. Check it. Is its final answer correct?"


@runtime_checkable
class Verifier(Protocol):
    """Scores candidates, higher is better.

    `scores` is called inside a plan, once: it adds steps, and computes nothing itself. A verifier with call sites is a
    `dspy.Module` that has them as attributes: only so can they be called, and do optimizers find them.
    """

    def scores(self, inputs: Mapping[str, Any], candidates: Any) -> Any:
        """A list of numbers, aligned with the candidates.

        inputs: of the program, symbolic. candidates: a list of records. Holes keep their places in the scores, and so
        do candidates that could not be scored, as holes or None; they are not chosen.
        """
        ...


class Rule:
    """A Python function as a verifier.

    fn: of the program's inputs, as a dict, and one candidate, a record of the signature's fields and `text`; plain or
        async. It says True or False, or gives a number. A candidate on which it raises has no score, and the run record
        says why.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise InputError(
                f"a rule is a function, not {type(fn).__name__}",
                fix="lambda inputs, candidate: candidate.answer.isdigit()",
            )
        self.fn = fn

    def scores(self, inputs: Mapping[str, Any], candidates: Any) -> Any:
        return rf.each(candidates, lambda candidate: rf.call(as_score, rf.call(self.fn, dict(inputs), candidate)))


class YesProbability(rf.Program):
    """The model judges each candidate with a Yes or a No; its score is the probability of Yes (arXiv:2511.01008).

    Called by itself it judges one candidate: `YesProbability(signature)(problem=..., candidate=...).score`.

    One call a candidate, all of them in parallel behind the shared problem. The paper averages 8 samples; they read the
    same first-token distribution, so one call gives the same number. See `style="verdict"` of `Generate`: where the
    engine reports no log-probabilities the word itself decides, 1 or 0.

    signature: the one whose candidates are judged.
    question: what is asked about a candidate.
    config: sampling settings of the judgement. A model that thinks before it answers needs room for it: `max_tokens`.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        *,
        question: str = _JUDGE,
        config: dict[str, Any] | None = None,
    ) -> None:
        task = read_signature(signature)
        self.candidate, self.score = unused("candidate", task), unused("score", task)
        self.signature = about(task, question, {self.candidate: (str, "")}, (self.score, ""), gives=float)
        self.judge = rf.Generate(self.signature, style="verdict", config=config)

    def plan(self, **inputs: Any) -> Any:
        return rf.answer(self.judge(**inputs))

    def scores(self, inputs: Mapping[str, Any], candidates: Any) -> Any:
        def judged(candidate: Any) -> Any:
            return self.judge(**inputs, **{self.candidate: candidate.solution})[self.score]

        return rf.each(candidates, judged)


def as_verifier(given: Any) -> Verifier:
    """A verifier as it is, a function as a `Rule`. Raises InputError for anything else."""
    if isinstance(given, Verifier) and not isinstance(given, type):
        return given
    if callable(given) and not isinstance(given, type):
        return Rule(given)
    raise InputError(
        f"{given!r} verifies nothing",
        why="a verifier has a method scores(inputs, candidates), or is a function (inputs, candidate) -> score",
        fix="rf.YesProbability(signature), rf.RewardModel(name), or a function",
    )


def as_score(value: Any) -> float:
    """What a rule gave as a number. Raises RunError where it is none."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if isinstance(value, str) or math.isnan(score):
        raise RunError(
            f"a rule gave {value!r}",
            why="a score is True, False or a number; the higher the better",
            fix="return one of them from the function",
        )
    return score
