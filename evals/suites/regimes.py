"""One regime of a task: programs that spend alike, side by side on the same problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.errors import RunError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.statistics import paired_difference
from reasonflow.evals.suites.arms import Arm, accuracy_of, mean, run_arm
from reasonflow.evals.suites.findings import Row
from reasonflow.evals.suites.matching import closest, rounds_for, samples_for
from reasonflow.evals.suites.outcomes import (
    Outcome,
    after_rounds,
    by_parts,
    outcome_of,
    pool,
    samples_of,
    singly,
    voted,
)
from reasonflow.evals.suites.suite import Setting
from reasonflow.evals.suites.together import together

VOTE = "vote"
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
    """Whether a verifier chooses among the samples that are voted on, too."""

    @property
    def config(self) -> dict[str, Any]:
        return {"max_tokens": self.max_tokens}


@dataclass(frozen=True, slots=True)
class Found:
    """A regime's rows, and the arms that others look into."""

    rows: tuple[Row, ...]
    pdr: Arm


async def compare(setting: Setting, lm: dspy.LM, name: str, regime: Regime, problems: Sequence[Problem]) -> Found:
    """All arms of a regime. What PDR spends on average decides what the others may.

    vote: as many samples as come closest to PDR's total tokens: PDR's own first drafts, which have the same prompt, and
        what is missing.
    single, part_vote: of the same samples.
    best_of: as many samples as come closest to PDR's total tokens together with their judgements, which read once more
        what a sample has cost. The vote takes what it misses from them.
    sr_total, sr: sequential refinement after as many rounds as come closest to PDR's total and to its sequential
        tokens; both are read off the same runs.
    """
    run, widths, config = _Runs(setting, lm, name, problems), regime.widths, regime.config
    pdr = await run.made("pdr", rf.PDR, widths=widths, workspace_tokens=WORKSPACE_TOKENS, config=config)
    total, sequential = _known(pdr.total_tokens, name), _known(pdr.sequential_tokens, name)
    drafts = [call for _, _, calls in pdr.runs() for call in samples_of(calls)]
    sample = _known(mean([call.tokens for call in drafts]), name)
    n = samples_for(total, sample)
    rounds = rounds_for(total, sample, _known(mean([call.output_tokens for call in drafts]), name), most=MOST_ROUNDS)
    missing = max(1, n - widths[0])
    more = max(missing, samples_for(total, 2 * sample)) if regime.best_of else missing
    program, folder = (rf.BestOfN, f"best_of-{more}") if regime.best_of else (rf.SelfConsistency, f"more-{more}")
    drawn, refined = await together(
        partial(run.made, folder, program, n=more, config=config),
        partial(run.made, f"sr-{rounds}", rf.SequentialRefine, rounds=rounds, config=config),
    )
    spent = [_known(after_rounds(refined, done).total_tokens, name) for done in range(rounds + 1)]
    few, many = closest(spent, sequential), closest(spent, total)
    samples = pool(n, pdr, drawn)
    vote = voted(samples)
    rows = [
        _row(name, "single", singly(samples), f"mean of {n}", vote),
        _row(name, VOTE, vote, f"n={n}"),
        _row(name, "part_vote", by_parts(samples), f"n={n}", vote),
    ]
    if regime.best_of:
        rows.append(_row(name, "best_of", outcome_of(drawn), f"n={more}", vote))
    rows.append(_row(name, "pdr", outcome_of(pdr), f"widths={','.join(map(str, widths))}", vote))
    rows.append(_row(name, "sr", after_rounds(refined, few), f"rounds={few}", vote))
    rows.append(_row(name, "sr_total", after_rounds(refined, many), f"rounds={many}", vote))
    return Found(tuple(rows), pdr)


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


def _row(regime: str, arm: str, found: Outcome, setting: str, vote: Outcome | None = None) -> Row:
    return Row(
        task=regime,
        arm=arm,
        figure=f"{arm}_{regime}",
        result=accuracy_of(found.verdicts),
        setting=setting,
        against=VOTE if vote else "",
        difference=paired_difference(found.verdicts, vote.verdicts) if vote else None,
        problems=len(found.verdicts),
        total_tokens=found.total_tokens,
        sequential_tokens=found.sequential_tokens,
    )


def _known(tokens: float | None, regime: str) -> float:
    if not tokens:
        raise RunError(
            f"no run of the regime {regime!r} came to its end: there is nothing to match the spending of",
            fix="read the errors in its samples.jsonl",
        )
    return tokens
