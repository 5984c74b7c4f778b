"""DeepConf's online vote (Deep Think with Confidence, arXiv:2508.15260): unsure samples are ended while they write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import dspy

import reasonflow as rf
from reasonflow.errors import AnswerError, BranchGated, InputError, UnknownName
from reasonflow.gates.confidence import GroupConfidence, percentile_of
from reasonflow.language.signatures import read_signature
from reasonflow.programs.quick import quick
from reasonflow.prompts.canonical import canonical
from reasonflow.prompts.styles import answer_field
from reasonflow.runtime.values import Hole, Record

Voters: TypeAlias = Literal["confident", "whole"]

WARM_UP = 16
"""Whole samples that the threshold is taken from: the paper's N_init."""
KEEP = {"low": 0.1, "high": 0.9}
"""The paper's two settings of eta, as a share: DeepConf-low ends most samples, DeepConf-high few."""
WINDOW, K = 2048, 20
"""Tokens of a group, and log-probabilities of each: the released code's."""


class ConfidentVote(rf.Program):
    """`n` samples, some of them ended as soon as they are less sure than the warm-up's; the rest vote by how sure.

    The first `warm_up` samples are written whole. Their lowest group confidences (`GroupConfidence`) give the
    threshold: it lies above all but the share `keep` of them. The others are drawn all at once, each is watched while
    it is written, and leaves the engine when a group of its tokens falls below the threshold. Behind the warm-up no
    sample waits for another. A vote weighs its sample's lowest group confidence.

    A result has the winner's fields, `answers`, one a sample in the order drawn, None for those without one, and
    `stopped`, how many were ended; the run's notes have the threshold.

    n, warm_up: samples, and how many of them are written whole. With `warm_up` of n and more none is watched.
    keep: share of the warm-up at or above the threshold (published: 0.1 and 0.9, see `KEEP`).
    k, window: of the confidence. The published window of 2,048 tokens never ends a text that is shorter.
    voters: "confident", as released: whoever is not below the threshold, so that the warm-up's unsure ones have no
        vote either, and stopping changes no vote. "whole": all that were not ended, the whole warm-up among them.
    stop: False draws the same samples with the same seeds and ends none: what stopping is measured against.

    The paper draws on only until the leader has 0.95 of all weight; the released online code does not, nor does this.
    Raises InputError on an engine without log-probabilities, before anything is asked.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        n: int = 32,
        warm_up: int = WARM_UP,
        *,
        keep: float = KEEP["low"],
        k: int = K,
        window: int = WINDOW,
        voters: Voters = "confident",
        stop: bool = True,
        config: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep < 1:
            raise InputError(f"keep={keep!r} is no share", fix="give a number above 0 and below 1, such as 0.1")
        if voters not in get_args(Voters):
            raise UnknownName.among("kind of voters", voters, get_args(Voters))
        self.signature = read_signature(signature)
        self.by = answer_field(self.signature)
        self.solve = rf.Generate(self.signature, watch=GroupConfidence(k=k, window=window), config=config)
        self.n, self.warm_up = rf.Choice(n), rf.Choice(warm_up)
        self.keep, self.voters, self.stop = keep, voters, stop

    def plan(self, **inputs: Any) -> Any:
        n, warm_up = int(self.n), int(self.warm_up)
        first = self.solve(**inputs, n=min(n, warm_up))
        rf.answer(rf.vote(first, by=self.by))
        threshold = rf.call(quick(self.threshold), first)
        if n <= warm_up:
            return rf.answer(rf.call(quick(self.voted), threshold, first))
        if self.stop:
            rest = self.solve(**inputs, n=n - warm_up, stop_below=threshold)
        else:
            rest = self.solve(**inputs, n=n - warm_up)
            rf.answer(rf.vote(rest, by=self.by))  # which does not wait for the warm-up, and may be all there is
        return rf.answer(rf.call(quick(self.voted), threshold, first, rest))

    def threshold(self, first: Sequence[Any]) -> float | None:
        """What a sample must not fall below; None where no sample of the warm-up has a confidence."""
        sure = [draft.watched_score for draft in first if draft and draft.watched_score is not None]
        if not sure:
            rf.note("no sample of the warm-up has a confidence: none is ended")
            return None
        found = percentile_of(sure, 100 * (1 - self.keep))
        rf.note(f"{found:.6g}, out of {len(sure)} samples", repair=False)
        return found

    def voted(self, threshold: float | None, *groups: Sequence[Any]) -> Record:
        """The first sample of the answer with the most weight, beside all answers. Raises AnswerError without one."""
        drafts = [draft for group in groups for draft in group]
        answers = [draft[self.by] if draft else None for draft in drafts]
        stopped = sum(isinstance(draft, Hole) and isinstance(draft.error, BranchGated) for draft in drafts)
        ballots = list(self._ballots(drafts, threshold if self.voters == "confident" else None))
        if not ballots and threshold is not None:
            ballots = list(self._ballots(drafts, None))
            rf.note("no sample at or above the threshold has an answer: all whole ones vote", repair=False)
        if not ballots:
            raise AnswerError(
                f"a vote over {len(drafts)} samples has no ballot",
                why=f"{stopped} were ended by their gate, the others failed or hold no {self.by}",
                fix="look at error.run.repairs; give the samples more max_tokens if their texts are cut off",
            )
        winner = heaviest(ballots)
        return Record({**winner.fields, "answers": answers, "stopped": stopped}, winner.full_text)

    def _ballots(self, drafts: Sequence[Any], least: float | None) -> Iterator[tuple[str, float, Record]]:
        """Answer, weight and record of each sample that votes. least: the confidence that it takes."""
        for draft in drafts:
            if not draft or draft[self.by] is None or draft[self.by] == "":
                continue
            sure = draft.watched_score
            if least is None or (sure is not None and sure >= least):
                yield canonical(str(draft[self.by])), 0.0 if sure is None else sure, draft


def heaviest(ballots: Sequence[tuple[str, float, Record]]) -> Record:
    """The first record of the answer whose weights add up to the most; of equal ones the one that came first."""
    weights: dict[str, float] = {}
    for answer, weight, _ in ballots:
        weights[answer] = weights.get(answer, 0.0) + weight
    leader = max(weights, key=lambda answer: weights[answer])
    return next(record for answer, _, record in ballots if answer == leader)
