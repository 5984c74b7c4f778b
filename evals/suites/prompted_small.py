"""How the small model of the suite `speculation-prompted` answers, and what it is scored by: samples of each score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import dspy

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.suites.labelled import labelled
from reasonflow.evals.suites.suite import Setting
from reasonflow.gates.scores import Score, Separability, TokenProbability, VoteShare
from reasonflow.optimizers.gates import Sample
from reasonflow.optimizers.planner_samples import samples_by_score
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.programs.voted_answers import VotedAnswers
from reasonflow.runtime.engines import model_behind

FOLDER = "labelled"
SIGNATURE = "problem -> answer"
SHORT = "Solve the problem in a few short steps."
"""What the small model is told, where it reasons."""
MAX_TOKENS = 320
"""Of each of its chains of thought."""
N, TEMPERATURE = 8, 0.8
"""Of the vote's samples."""
K = 20
"""Log-probabilities a token, of separability."""
BATCH = 300
"""Problems drawn at once."""
OF_TOKENS: Mapping[str, Score] = {"token probability": TokenProbability(), "separability": Separability(k=K)}


def _reasoned(score: Score) -> rf.Program:
    config = {"temperature": 0.0, "max_tokens": MAX_TOKENS, "logprobs": score.logprobs}
    return rf.ChainOfThought(dspy.Signature(SIGNATURE, SHORT), config=config)


def _voted(score: Score) -> rf.Program:
    config = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
    return VotedAnswers(dspy.Signature(SIGNATURE, SHORT), N, config=config)


@dataclass(frozen=True, slots=True)
class Manner:
    """A way to answer."""

    scores: Mapping[str, Score]
    program: Callable[[Score], rf.Program] | None
    """Of the small model, with the log-probabilities that the score takes; None: the answer at once."""

    @property
    def widest(self) -> Score:
        """The score that takes the most log-probabilities."""
        return max(self.scores.values(), key=lambda score: score.logprobs)

    def planner(self, gate: rf.Gate, **options: Any) -> SpeculativePlanner:
        """The planner whose small model answers so."""
        program = self.program and self.program(gate.score)
        return SpeculativePlanner(SIGNATURE, gate, small_program=program, **options)


MANNERS: Mapping[str, Manner] = {
    "direct": Manner(OF_TOKENS, None),
    "reasoned": Manner(OF_TOKENS, _reasoned),
    "voted": Manner({"vote share": VoteShare()}, _voted),
}


class Scored(NamedTuple):
    """A way to answer with one of its scores."""

    manner: str
    score: str

    def __str__(self) -> str:
        return f"{self.manner}, {self.score}"

    @property
    def figure(self) -> str:
        """In figures' names."""
        return f"{self.manner}_{self.score}".replace(" ", "_")

    def gate(self) -> rf.Gate:
        """A new gate of the score."""
        return rf.Gate(MANNERS[self.manner].scores[self.score])

    def planner(self, gate: rf.Gate, **options: Any) -> SpeculativePlanner:
        """The planner of that gate."""
        return MANNERS[self.manner].planner(gate, **options)


SCORED = tuple(Scored(manner, score) for manner, how in MANNERS.items() for score in how.scores)
Samples = Mapping[Scored, Sequence[Sample]]


async def drawn(setting: Setting, small: dspy.LM, problems: Sequence[Problem], grader: Grader) -> Samples:
    """A sample a problem of each score, in the problems' order. What an earlier session has drawn stays as it is."""
    found: dict[Scored, Sequence[Sample]] = {}
    known = {problem.inputs["problem"]: problem for problem in problems}
    for name, manner in MANNERS.items():
        made_with = {"small": model_behind(small) or small.model, "scores": [*manner.scores], "max_tokens": MAX_TOKENS}
        samples = await labelled(
            setting,
            small,
            f"{FOLDER}/{name}",
            _planner(manner, small),
            problems,
            partial(_draw, manner, small, partial(_is_right, grader, known)),
            settings=made_with | ({"n": N, "temperature": TEMPERATURE} if name == "voted" else {}),
            batch=BATCH,
        )
        found |= {Scored(name, score): each for score, each in zip(manner.scores, samples, strict=True)}
    return found


def _is_right(grader: Grader, known: Mapping[str, Problem], example: dspy.Example, found: Any) -> bool:
    """Whether the answer is the problem's, as mathematics."""
    return grader.grade(known[example.problem], str(found.answer)).correct


def _planner(manner: Manner, small: dspy.LM) -> SpeculativePlanner:
    """Its agent is never asked."""
    return manner.planner(rf.Gate(manner.widest), agent=rf.ChainOfThought(), small=small)


def _draw(
    manner: Manner,
    small: dspy.LM,
    metric: Callable[[dspy.Example, Any], bool],
    examples: Sequence[dspy.Example],
    seed: int,
) -> list[list[Sample]]:
    seeded = small.copy(seed=seed)
    with dspy.context(lm=seeded):
        return samples_by_score(_planner(manner, seeded), [*manner.scores.values()], examples, metric)
