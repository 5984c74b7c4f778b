"""One regime of a task: programs that spend alike, side by side on the same problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.errors import RunError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, accuracy_of, answer_of, is_right, mean, run_arm, solution_of
from reasonflow.evals.suites.calls import Call
from reasonflow.evals.suites.findings import Row
from reasonflow.evals.suites.matching import rounds_for, samples_for
from reasonflow.evals.suites.part_vote import part_vote
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item_at

VOTE = "vote"
FIRST_BATCH = 16
"""Problems on which a round of refinement is measured."""
MOST_ROUNDS = 32
WORKSPACE_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """What a regime's programs are made with."""

    widths: tuple[int, ...]
    """Of PDR."""
    max_tokens: int
    """Generated tokens of a call at most, in every arm."""
    best_of: bool = False
    """Whether a verifier chooses among as many samples as are voted on, too."""

    @property
    def config(self) -> dict[str, Any]:
        return {"max_tokens": self.max_tokens}


@dataclass(frozen=True, slots=True)
class Found:
    """A regime's rows, and the arms that others look into."""

    rows: tuple[Row, ...]
    vote: Arm
    pdr: Arm


async def compare(setting: Setting, lm: dspy.LM, name: str, regime: Regime, problems: Sequence[Problem]) -> Found:
    """All arms of a regime. What PDR spends on average decides what the others may.

    vote: as many samples as come closest to PDR's total tokens. One costs what one of PDR's own first drafts does: they
        have the same prompt.
    sr, sr_total: rounds of refinement that come closest to PDR's sequential tokens, and to its total tokens. A round
        costs what it does in a first batch of few problems.
    single, part_vote: read off the vote's own samples, so that they cost nothing.
    """
    run = _Runs(setting, lm, name, problems)
    pdr = await run.made("pdr", rf.PDR, widths=regime.widths, workspace_tokens=WORKSPACE_TOKENS, config=regime.config)
    total, sequential = _known(pdr.total_tokens, name), _known(pdr.sequential_tokens, name)
    sample = _known(mean([call.tokens for call in _of(pdr, "draft")]), name)
    n = samples_for(total, sample)
    vote = await run.made(f"vote-{n}", rf.SelfConsistency, n=n, config=regime.config)
    rows = [_single(name, vote, n), _row(name, VOTE, vote, f"n={n}"), _parts(name, vote, n)]
    if regime.best_of:
        best = await run.made(f"best_of-{n}", rf.BestOfN, n=n, config=regime.config)
        rows.append(_row(name, "best_of", best, f"n={n}", vote))
    rows.append(_row(name, "pdr", pdr, f"widths={','.join(map(str, regime.widths))}", vote))
    batch = _Runs(setting, lm, name, problems[:FIRST_BATCH])
    tried = await batch.made("sr-first-batch", rf.SequentialRefine, rounds=2, config=regime.config)
    each = _known(mean([call.tokens for call in _of(tried, "loop/refine")]), name)
    for arm, tokens in (("sr", sequential), ("sr_total", total)):
        rounds = rounds_for(tokens, sample, each, most=MOST_ROUNDS)
        # Named by its rounds: where both arms come to the same number, the second one finds every sample there.
        refined = await run.made(f"sr-{rounds}", rf.SequentialRefine, rounds=rounds, config=regime.config)
        rows.append(_row(name, arm, refined, f"rounds={rounds}", vote))
    return Found(tuple(rows), vote, pdr)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Where the arms of a regime run."""

    setting: Setting
    lm: dspy.LM
    regime: str
    problems: Sequence[Problem]

    async def made(self, folder: str, program: type[dspy.Module], **settings: Any) -> Arm:
        """The program of these settings, evaluated in that folder."""
        made, where = program(**settings), f"{self.regime}/{folder}"
        return await run_arm(self.setting, self.lm, where, made, self.problems, settings=settings)


def _row(regime: str, arm: str, found: Arm, setting: str, vote: Arm | None = None) -> Row:
    return Row(
        task=regime,
        arm=arm,
        figure=f"{arm}_{regime}",
        result=accuracy_of(found.verdicts),
        setting=setting,
        against=VOTE if vote else "",
        difference=paired_difference(found.verdicts, vote.verdicts) if vote else None,
        problems=len(found.samples),
        total_tokens=found.total_tokens,
        sequential_tokens=found.sequential_tokens,
        seconds=found.evaluation.wall_s,
    )


def _single(regime: str, vote: Arm, n: int) -> Row:
    """The mean of the vote's samples, each by itself; one that failed is wrong."""
    verdicts = []
    for problem, _, calls in vote.runs():
        right = [float(is_right(problem, answer_of(call))) for call in calls]
        verdicts.append(right + [0.0] * (n - len(right)))
    tokens = mean([call.tokens for _, _, calls in vote.runs() for call in calls])
    return _read_off(regime, "single", verdicts, vote, f"mean of {n}", tokens, tokens)


def _parts(regime: str, vote: Arm, n: int) -> Row:
    verdicts = []
    for problem, _, calls in vote.runs():
        graph = item_at(problem.id).content
        assert isinstance(graph, Graph), "regimes are of graphs"
        verdicts.append([float(part_vote(graph, [solution_of(call) for call in calls]) == graph.answer)])
    return _read_off(regime, "part_vote", verdicts, vote, f"n={n}", vote.total_tokens, vote.sequential_tokens)


def _read_off(
    regime: str,
    arm: str,
    verdicts: list[list[float]],
    vote: Arm,
    setting: str,
    total: float | None,
    sequential: float | None,
) -> Row:
    """A row of what the vote's samples hold."""
    return Row(
        task=regime,
        arm=arm,
        figure=f"{arm}_{regime}",
        result=accuracy_of(verdicts),
        setting=setting,
        against=VOTE,
        difference=paired_difference(verdicts, vote.verdicts),
        problems=len(verdicts),
        total_tokens=total,
        sequential_tokens=sequential,
    )


def _of(arm: Arm, node: str) -> list[Call]:
    """Every call of that step."""
    return [call for _, _, calls in arm.runs() for call in calls if call.node == node]


def _known(tokens: float | None, regime: str) -> float:
    if not tokens:
        raise RunError(
            f"no run of the regime {regime!r} came to its end: there is nothing to match the spending of",
            fix="read the errors in its samples.jsonl",
        )
    return tokens
