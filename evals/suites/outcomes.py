"""What came out on each problem: of an arm itself, or of what its calls hold, so that it costs nothing to look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.arms import Arm, answer_of, is_right, mean, solution_of
from reasonflow.evals.suites.calls import Call
from reasonflow.evals.suites.part_vote import part_vote
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item_at
from reasonflow.plan.nodes import Vote
from reasonflow.prompts.canonical import canonical
from reasonflow.runtime.joins import vote

_VOTE = Vote(by=None, normalise=canonical)
_SAMPLING = frozenset({"draft", "solve"})
"""The steps that draw samples of the problem's own prompt: PDR's first drafts, SelfConsistency's and BestOfN's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Verdicts of every problem, and what a problem's run spent on average; None where no run came to its end."""

    verdicts: list[list[float]]
    """(problems, samples), 1 for right; a run that failed is wrong."""
    total_tokens: float | None
    sequential_tokens: float | None


def outcome_of(arm: Arm) -> Outcome:
    """What the arm's runs gave."""
    return Outcome(arm.verdicts, arm.total_tokens, arm.sequential_tokens)


@dataclass(frozen=True, slots=True)
class Pool:
    """Samples of each problem's own prompt. They are alike, whichever program drew them, each with seeds of its own."""

    n: int
    drawn: list[tuple[Problem, tuple[Call, ...]]]
    """`n` of each problem, fewer where a run failed."""


def pool(n: int, *arms: Arm) -> Pool:
    """The first `n` samples of each problem, of the arms' runs in that order."""
    drawn = list[tuple[Problem, tuple[Call, ...]]]()
    for runs in zip(*(arm.runs() for arm in arms), strict=True):
        samples = [call for _, _, calls in runs for call in samples_of(calls)]
        drawn.append((runs[0][0], tuple(samples[:n])))
    return Pool(n, drawn)


def samples_of(calls: Sequence[Call]) -> list[Call]:
    """A run's samples of the problem's own prompt, without what reads them."""
    return [call for call in calls if call.node in _SAMPLING]


def singly(samples: Pool) -> Outcome:
    """Each of a problem's samples by itself; one that failed is wrong."""
    verdicts, tokens = list[list[float]](), list[int]()
    for problem, drawn in samples.drawn:
        right = [float(is_right(problem, answer_of(call))) for call in drawn]
        verdicts.append(right + [0.0] * (samples.n - len(right)))
        tokens += [call.tokens for call in drawn]
    return Outcome(verdicts, mean(tokens), mean(tokens))


def voted(samples: Pool) -> Outcome:
    """The plurality of a problem's samples, as `rf.vote` counts it."""
    return _read(samples, lambda problem, drawn: is_right(problem, plurality(drawn)))


def by_parts(samples: Pool) -> Outcome:
    """The vote quantity by quantity, without a model; see `part_vote`."""

    def right(problem: Problem, drawn: Sequence[Call]) -> bool:
        graph = item_at(problem.id).content
        assert isinstance(graph, Graph), "regimes are of graphs"
        return part_vote(graph, [solution_of(call) for call in drawn]) == graph.answer

    return _read(samples, right)


def after_rounds(arm: Arm, rounds: int) -> Outcome:
    """Sequential refinement as it stood after so many rounds of a longer run."""
    verdicts, tokens = list[list[float]](), list[int]()
    for problem, _, calls in arm.runs():
        done = calls[: 1 + rounds]
        verdicts.append([float(bool(done) and is_right(problem, answer_of(done[-1])))])
        if done:
            tokens.append(sum(call.tokens for call in done))
    return Outcome(verdicts, mean(tokens), mean(tokens))


def plurality(samples: Sequence[Call]) -> str | None:
    """What `rf.vote` gives of the samples' answers; None where none of them has one."""
    answers = [answer for call in samples if (answer := answer_of(call)) is not None]
    return vote(_VOTE, answers) if answers else None


def _read(samples: Pool, right: Callable[[Problem, Sequence[Call]], bool]) -> Outcome:
    """A verdict on all samples of each problem."""
    verdicts, total, longest = list[list[float]](), list[int](), list[int]()
    for problem, drawn in samples.drawn:
        verdicts.append([float(bool(drawn) and right(problem, drawn))])
        if drawn:
            total.append(sum(call.tokens for call in drawn))
            longest.append(max(call.tokens for call in drawn))
    return Outcome(verdicts, mean(total), mean(longest))
