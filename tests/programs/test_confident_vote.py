"""ConfidentVote: the threshold of the run's own warm-up, who is ended, who votes and how much."""

from __future__ import annotations

import itertools
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.clock import VirtualClock
from reasonflow.errors import AnswerError, InputError, UnknownName
from reasonflow.programs.confident_vote import ConfidentVote
from tests.reasonflow.sure_texts import SURE, UNSURE, said

FEW = {"k": 3, "window": 4}


def solved(answer: str, chance: float = SURE) -> Any:
    """A solution that is as sure as that in its middle."""
    return (*said("so " * 6), *said("then " * 12, chance), *said(rf"and \boxed{{{answer}}}"))


def vote(solutions: list[Any], *, lm: Any = None, **options: Any) -> Any:
    """The outcome with these samples in the order drawn, the warm-up's first."""
    given = itertools.cycle(solutions)
    options = {"n": len(solutions), "warm_up": 4, "keep": 0.5, **FEW, **options}
    with dspy.context(lm=lm or rf.scripted(lambda *_: next(given), top_logprobs=20)):
        return ConfidentVote(**options)(problem="How many?")


MIXED = [solved("1", 0.98), solved("1", 0.9), solved("2", 0.6), solved("2", 0.5)]
"""Confidences of their middles, of 3 alternatives: 3.08, 2.032, 1.243, 1.155. The scripted engine's end has no
alternatives, and confidence 0: the lowest group of the first is (3 * 3.077 + 0) / 4 = 2.308."""


def test_the_warm_up_gives_the_threshold_and_unsure_samples_are_ended() -> None:
    out = vote([*MIXED, solved("1", 0.95), solved("2", 0.6), solved("2", 0.7), solved("2", 0.8)])
    assert out.answer == "1"
    assert out.answers == ["1", "1", "2", "2", "1", None, None, None]
    assert out.stopped == 3
    (said_of,) = [note for note in out.run.notes if note.startswith("threshold: ")]
    assert said_of.endswith("out of 4 samples")
    assert float(said_of.split()[1].rstrip(",")) == pytest.approx((2.0323 + 1.2432) / 2, abs=1e-3)
    written = {span.output_tokens for span in out.run.spans if span.outcome == "done"}
    assert max(span.output_tokens for span in out.run.spans if span.finish_reason == "gated") < min(written)
    assert out.run.usage.cancelled_calls == 3


def test_stopping_saves_tokens_and_changes_no_vote() -> None:
    chances = [0.98, 0.9, 0.6, 0.5, 0.95, 0.6, 0.7, 0.99, 0.4, 0.85]
    solutions = [solved(str(place % 3), chance) for place, chance in enumerate(chances)]
    lm = rf.scripted(lambda prompt, seed, index: solutions[(seed or 0) % 10], top_logprobs=20)
    for keep in (0.1, 0.5, 0.9):
        stopped, whole = (vote(solutions, lm=lm, keep=keep, stop=stop) for stop in (True, False))
        assert stopped.answer == whole.answer
        assert stopped.run.usage.output_tokens < whole.run.usage.output_tokens
        assert (whole.stopped, whole.run.usage.cancelled_calls) == (0, 0)
        assert all(ours in (None, theirs) for ours, theirs in zip(stopped.answers, whole.answers, strict=True))


def test_a_vote_weighs_its_lowest_confidence() -> None:
    drafts = [solved("2", 0.5), solved("2", UNSURE), solved("1", 0.98)]  # 1.155 and 1.108, against 2.308
    assert vote(drafts, voters="whole").answer == "1"
    assert vote([*drafts, solved("2", 0.6)], voters="whole").answer == "2"


def test_all_that_is_whole_votes_where_that_is_asked_for() -> None:
    drafts = [solved("1", 0.98), *[solved("2", 0.9)] * 3, solved("2", 0.5)]
    assert vote(drafts, keep=0.1).answer == "1"
    out = vote(drafts, keep=0.1, voters="whole")
    assert (out.answer, out.answers, out.stopped) == ("2", ["1", "2", "2", "2", None], 1)


@pytest.mark.parametrize("voters", ["confident", "whole"])
def test_if_all_are_ended_the_warm_up_votes(voters: Any) -> None:
    out = vote([*[solved("1", 0.9)] * 4, *[solved("2", UNSURE)] * 6], voters=voters)
    assert (out.answer, out.stopped) == ("1", 6)


@pytest.mark.parametrize(("n", "warm_up"), [(3, 3), (3, 16), (1, 16)])
def test_a_warm_up_of_all_of_them_watches_none(n: int, warm_up: int) -> None:
    out = vote([solved("1", chance) for chance in (0.9, 0.5, 0.6)], n=n, warm_up=warm_up)
    assert (out.answer, out.stopped, out.run.usage.calls, out.run.usage.requests) == ("1", 0, n, 1)


def test_a_confident_sample_without_an_answer_does_not_silence_the_others() -> None:
    nothing = said("I do not know it at all, so I stop here without")
    out = vote([nothing, solved("1", 0.7), solved("1", 0.7), solved("2", 0.5)], keep=0.1)
    assert out.answer == "1"
    assert any("all whole ones vote" in note for note in out.run.notes)


def test_a_warm_up_without_answers_still_gives_a_threshold() -> None:
    nothing = said("I do not know it at all, so I stop here without")
    out = vote([*[nothing] * 4, solved("1", 0.99), solved("2", UNSURE)])
    assert (out.answer, out.stopped) == ("1", 1)
    with pytest.raises(AnswerError, match="a vote over 6 samples has no ballot"):
        vote([*[nothing] * 4, *[solved("2", UNSURE)] * 2])


def test_behind_the_warm_up_no_sample_waits_for_another() -> None:
    drafts = [*MIXED, solved("1", 0.99), solved("2", UNSURE), solved("1", 0.99), solved("1", 0.98)]
    seconds, given = iter([1.0] * 4 + [50.0] + [2.0] * 3), iter(drafts)
    lm = rf.scripted(
        lambda *_: next(given), top_logprobs=20, latency=lambda request, index: next(seconds), clock=VirtualClock()
    )
    out = vote(drafts, lm=lm)
    ends = [(span.node, span.indices) for span in out.run.spans]  # in the order in which they came
    assert {node for node, _ in ends[:4]} == {"solve"}
    assert [indices for _, indices in ends[4:]][-1] == (0,), "the slow one is the last: the others did not wait for it"


def test_a_budget_that_ends_in_the_warm_up_or_behind_it_leaves_an_answer() -> None:
    for calls in range(1, 9):
        given = itertools.cycle(MIXED)
        program = ConfidentVote(n=8, warm_up=4, keep=0.5, **FEW)  # type: ignore[arg-type]
        program.budget = rf.Budget(calls=calls)
        with dspy.context(lm=rf.scripted(lambda *_, given=given: next(given), top_logprobs=20)):
            out = program(problem="How many?")
        assert out.answer == "1"
        assert out.run.usage.calls <= calls


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"keep": 0}, InputError, "keep=0 is no share"),
        ({"keep": 1.0}, InputError, "no share"),
        ({"voters": "everybody"}, UnknownName, "kind of voters"),
        ({"window": 0}, InputError, "window=0"),
        ({"n": 0}, InputError, "n=0 is out of range"),
        ({"warm_up": 0}, InputError, "out of range"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        vote(MIXED, **options)


def test_an_engine_without_log_probabilities_is_refused_before_anything_is_asked() -> None:
    asked: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return r"\boxed{1}"

    for stop in (True, False):
        with pytest.raises(InputError, match="solve cannot be watched on the engine of 'scripted'"):
            vote(MIXED, lm=rf.scripted(script, top_logprobs=0), stop=stop)
    assert not asked


# The engine -----------------------------------------------------------------------------------------------------------

PROBLEM = "There are 4 red cups. There are 3 more blue cups than red cups. How many blue cups are there?"


@pytest.mark.engine
def test_a_watched_sample_leaves_the_engine_and_the_others_go_on(embedded_lm: dspy.LM) -> None:
    class Halves(rf.Program):
        """Samples that nobody can be sure enough for, beside some that write to their cap."""

        def __init__(self) -> None:
            watch = rf.ConfidentVote(k=20, window=8).solve.watch
            self.watched = rf.Generate("problem -> text", style="text", watch=watch, ignore_eos=True, max_tokens=256)
            self.others = rf.Generate("problem -> text", style="text", ignore_eos=True, max_tokens=48)

        def plan(self, problem: Any) -> Any:
            ended = self.watched(problem=problem, n=3, stop_below=1e6)
            return {"ended": rf.call(list, ended), "others": rf.call(list, self.others(problem=problem, n=3))}

    runtime = embedded_lm.engine.runtime
    before = runtime.run(runtime.backend.counters)
    with dspy.context(lm=embedded_lm):
        out = Halves()(problem=PROBLEM)
    after = runtime.run(runtime.backend.counters)
    assert not any(out.ended)
    assert all(out.others)
    spans = {node: [span for span in out.run.spans if span.node == node] for node in ("watched", "others")}
    assert all(span.finish_reason == "gated" and 8 <= span.output_tokens < 64 for span in spans["watched"])
    assert [span.output_tokens for span in spans["others"]] == [48] * 3
    assert after.running == after.waiting == 0
    written = after.output_tokens - before.output_tokens
    assert 0 <= written - out.run.usage.output_tokens <= 3, "within one step for each that was ended"


@pytest.mark.engine
def test_on_the_engine_every_sample_that_goes_on_is_sure_enough(embedded_lm: dspy.LM) -> None:
    program = ConfidentVote(n=10, warm_up=4, keep=0.5, window=8, config={"temperature": 1.3, "seed": 3})
    with dspy.context(lm=embedded_lm):
        out = program(problem=PROBLEM)
    assert len(out.answers) == 10
    assert out.run.usage.calls == 10
    assert out.run.usage.cancelled_calls == out.stopped
    assert out.answers.count(None) >= out.stopped
