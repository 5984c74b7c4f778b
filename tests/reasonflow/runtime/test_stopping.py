"""Gated calls: who is ended while it writes, and that the record, the budget, the journal and DSPy know it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError, BranchGated, InputError, RunError
from reasonflow.evals.journal import CallLog
from reasonflow.gates.confidence import GroupConfidence
from reasonflow.language.program import trace
from reasonflow.plan.serialise import digest, to_json
from reasonflow.runtime.ambient import surrounded
from tests.reasonflow.backends.openai_server import OpenAIServer
from tests.reasonflow.runtime.test_replay import Memory
from tests.reasonflow.sure_texts import UNSURE, said

WATCH = GroupConfidence(k=3, window=4)
"""Of surely written tokens 3.08, of others 1.11."""
SURELY = said("aaaa" * 10)
FALLING = (*said("aaaa" * 4), *said("bbbb" * 8, UNSURE), *said("cccc" * 12))
"""24 tokens; the group that ends with the sixth is below 2.1: (2 * 3.08 + 2 * 1.11) / 4."""


def falling_if(unsure: Callable[[int, str], bool]) -> Any:
    """A script. unsure: of a sample, by its seed and its prompt."""

    def script(prompt: str, seed: int | None, index: int) -> Any:
        return FALLING if unsure(seed or 0, prompt) else SURELY

    return script


class Watched(rf.Program):
    """Samples that are ended below a threshold, which the run computes."""

    def __init__(self, n: int | None = 6, below: Any = 2.2, **more: Any) -> None:
        self.solve = rf.Generate("problem -> text", style="text", watch=WATCH, **more)
        self.n, self.below = n, below

    def plan(self, problem: Any) -> Any:
        threshold = rf.call(lambda: self.below)
        samples = self.solve(problem=problem, stop_below=threshold, **({} if self.n is None else {"n": self.n}))
        return {"samples": rf.call(list, samples)}


def run(program: rf.Program, script: Any, **options: Any) -> Any:
    options = {"top_logprobs": 20, **options}
    with dspy.context(lm=rf.scripted(script, **options)):
        return program(problem="p")


def odd(seed: int, prompt: str) -> bool:
    return seed % 2 == 1


def test_a_sample_is_ended_as_soon_as_it_falls_and_the_others_go_on() -> None:
    lm = rf.scripted(falling_if(odd), top_logprobs=20)
    with dspy.context(lm=lm):
        out = Watched()(problem="p")
    ended = [sample for sample in out.samples if not sample]
    whole = [sample for sample in out.samples if sample]
    assert (len(ended), len(whole)) == (3, 3)
    assert all(isinstance(hole.error, BranchGated) for hole in ended)
    assert {sample.text for sample in whole} == {"aaaa" * 10}
    spans = {outcome: [s for s in out.run.spans if s.outcome == outcome] for outcome in ("cancelled", "done")}
    assert {(span.output_tokens, span.finish_reason) for span in spans["cancelled"]} == {(6, "gated")}
    assert {(span.output_tokens, span.finish_reason) for span in spans["done"]} == {(11, "stop")}
    assert out.run.usage.output_tokens == 3 * 6 + 3 * 11
    assert out.run.usage.cancelled_calls == 3
    assert out.run.complete
    assert out.run.failures == []
    said_of = {f"{hole.path}: ended by its gate after 6 tokens" for hole in ended}
    assert set(out.run.notes) == said_of
    counts = lm.engine.runtime.run(lm.engine.runtime.backend.counters)
    assert (counts.running, counts.output_tokens) == (0, out.run.usage.output_tokens)


def test_samples_have_the_seeds_that_a_group_has_and_whole_ones_their_scores() -> None:
    seeds: dict[bool, list[int | None]] = {True: [], False: []}

    class Plain(Watched):
        def plan(self, problem: Any) -> Any:
            return {"samples": rf.call(list, self.solve(problem=problem, n=self.n))}

    for gated, program in ((True, Watched(below=0.1)), (False, Plain())):

        def script(prompt: str, seed: int | None, index: int, gated: bool = gated) -> Any:
            seeds[gated].append(seed)
            return SURELY

        samples = run(program, script).samples
        assert [sample.watched_score for sample in samples] == pytest.approx([3 * 3.0769 / 4] * 6, abs=1e-3), "its end"
    assert sorted(seeds[True]) == sorted(seeds[False])  # type: ignore[type-var]
    assert len(set(seeds[True])) == 6


def test_without_a_threshold_none_is_ended_and_one_request_has_them_all() -> None:
    out = run(Watched(below=None), falling_if(odd))
    assert all(out.samples)
    assert (out.run.usage.calls, out.run.usage.requests, out.run.usage.cancelled_calls) == (6, 1, 0)
    unsure = [sample.watched_score for sample in out.samples if "b" in sample.text]
    assert unsure == pytest.approx([1.1081] * 3, abs=1e-4)


@pytest.mark.parametrize("below", [True, "2", float("nan"), float("inf")])
def test_what_is_no_threshold_is_refused(below: Any) -> None:
    class Fixed(Watched):
        def plan(self, problem: Any) -> Any:
            return {"samples": self.solve(problem=problem, n=2, stop_below=below)}

    with pytest.raises(InputError, match="is no threshold"):
        run(Fixed(), falling_if(odd))
    with pytest.raises(InputError, match="is no threshold"):
        run(Watched(below=below), falling_if(odd))


def test_a_site_that_watches_nothing_has_no_threshold() -> None:
    class Blind(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return self.solve(problem=problem, stop_below=1.0)

    with pytest.raises(InputError, match="watches nothing"):
        Blind().explain()


def test_an_input_of_that_name_is_an_input() -> None:
    class Named(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem, stop_below -> answer", watch=WATCH)

        def plan(self, problem: Any) -> Any:
            return self.solve(problem=problem, stop_below="the word END")

    seen: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> Any:
        seen.append(prompt)
        return said(r"\boxed{1}")

    assert run(Named(), script).answer == "1"
    assert "the word END" in seen[0]


def test_an_engine_that_does_not_tell_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> Any:
        asked.append(prompt)
        return SURELY

    for top, told in ((0, "reports none"), (2, "at most 2 a token")):
        with pytest.raises(InputError, match=told):
            run(Watched(), script, top_logprobs=top)
    able = ScriptedBackend.capabilities.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(
        ScriptedBackend, "capabilities", property(lambda self: replace(able(self), streamed_logprobs=False))
    )
    with pytest.raises(InputError, match="while a text is written"):
        run(Watched(), script)
    assert not asked


def test_a_branch_with_one_sample_is_a_hole_and_a_program_of_one_fails() -> None:
    class Branches(Watched):
        def plan(self, problem: Any) -> Any:
            threshold = rf.call(lambda: self.below)

            def branch(number: Any) -> Any:
                return rf.call(lambda one: one.text, self.solve(problem=problem, stop_below=threshold))

            return {"texts": rf.call(list, rf.fork(5, branch))}

    out = run(Branches(), falling_if(odd))
    assert {bool(text) for text in out.texts} == {True, False}
    assert all(isinstance(text.error, BranchGated) for text in out.texts if not text)
    with pytest.raises(BranchGated, match="ended by its gate after 6 tokens"):
        run(Watched(n=None), falling_if(lambda seed, prompt: True))

    class Vote(Watched):
        def plan(self, problem: Any) -> Any:
            return rf.vote(self.solve(problem=problem, n=3, stop_below=2.2), by="text")

    with pytest.raises(RunError, match="all 3 branches into vote failed"):
        run(Vote(), falling_if(lambda seed, prompt: True))


def test_it_is_not_asked_again() -> None:
    out = run(Watched(retries=2), falling_if(odd))
    assert out.run.usage.calls == 6


def test_a_quorum_ends_the_others_and_counts_none_that_was_ended() -> None:
    class Quorum(Watched):
        def plan(self, problem: Any) -> Any:
            return rf.quorum(self.solve(problem=problem, n=9, stop_below=2.2), by="text", need=2)

    out = run(Quorum(), falling_if(odd), latency=0.02, max_running=3)
    assert out.text == "aaaa" * 10
    reasons = {span.finish_reason for span in out.run.spans}
    assert {"gated", "stop", "cancelled"} <= reasons


def test_pieces_are_shown_to_who_watches_the_run() -> None:
    async def watched() -> list[Any]:
        with dspy.context(lm=rf.scripted(falling_if(odd), top_logprobs=20)):
            return [event async for event in Watched().stream(problem="p")]

    events = asyncio.run(watched())
    tokens: dict[tuple[int, ...], str] = {}
    for event in events:
        if type(event).__name__ == "Token":
            tokens[event.indices] = tokens.get(event.indices, "") + event.text
    assert set(tokens.values()) == {"aaaa" * 10, "aaaa" * 4 + "bbbb" * 2}
    assert [type(event).__name__ for event in events].count("Cancelled") == 3


def test_dspy_is_told_what_was_spent_and_shown_no_text_of_it() -> None:
    lm = rf.scripted(falling_if(odd), top_logprobs=20)
    with dspy.context(lm=lm, trace=[], track_usage=True):
        out = Watched()(problem="p")
        ((_, _, prediction),) = dspy.settings.trace
    assert prediction.completions.text == ["aaaa" * 10] * 3
    (usage,) = out.get_lm_usage().values()
    assert usage["completion_tokens"] == 3 * 6 + 3 * 11
    assert lm.history[-1]["outputs"] == ["aaaa" * 10] * 3


# The budget -----------------------------------------------------------------------------------------------------------


class Twice(Watched):
    """Gated samples, then two more that are not."""

    def plan(self, problem: Any) -> Any:
        first = self.solve(problem=problem, n=6, stop_below=self.below)
        there = rf.call(lambda samples: str(sum(map(bool, samples))), first)
        return {"samples": rf.call(list, self.solve(problem=there, n=2))}


def test_what_ended_samples_did_not_write_flows_back() -> None:
    room: list[int] = []
    for below in (2.2, 0.1):
        program = Twice(below=below)
        program.budget = rf.Budget(total=1_000)
        out = run(program, lambda *_: (*said("aaaa" * 4), *said("bbbb" * 96, UNSURE)))
        assert out.run.complete
        assert out.run.usage.total_tokens <= 1_000
        room.append(out.run.spans[-1].max_tokens)
    assert room[0] > 2 * room[1], "behind samples that were ended the others may write more"


def test_the_ledger_has_what_they_wrote() -> None:
    with rf.limit(total=100_000) as ledger:
        out = run(Watched(), falling_if(odd))
    assert (ledger.spent.total, ledger.spent.calls) == (out.run.usage.total_tokens, 6)


def test_a_budget_ends_them_as_any_other() -> None:
    program = Watched(n=6)
    program.budget = rf.Budget(calls=4)
    out = run(program, falling_if(odd))
    assert out.run.usage.calls == 4
    assert sum(isinstance(sample.error, BranchGated) for sample in out.samples if not sample) == 2


def test_the_plan_knows_the_call_as_any_other() -> None:
    class Plain(Watched):
        def plan(self, problem: Any) -> Any:
            return {"samples": rf.call(list, self.solve(problem=problem, n=6))}

    with dspy.context(lm=rf.scripted(SURELY)):
        gated, plain = Watched().explain(), Plain().explain()
        estimates = [program.estimate([{"problem": "p"}]) for program in (Watched(), Plain())]
    assert gated.bound == plain.bound
    assert "a sample ends as soon as its GroupConfidence falls below ‹call›" in str(gated)
    assert len({str(each.to_json()["calls"]) for each in estimates}) == 1


def test_a_threshold_stands_in_no_prompt() -> None:
    class Two(rf.Program):
        def __init__(self) -> None:
            self.one, self.other = (rf.Generate("problem -> text", watch=WATCH, layout="shared") for _ in range(2))

        def plan(self, problem: Any) -> Any:
            threshold = rf.call(lambda: 2.2)
            sites = (self.one, self.other)
            return {"samples": rf.call(list, [site(problem=problem, n=2, stop_below=threshold) for site in sites])}

    prompts: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> Any:
        prompts.append(prompt)
        return SURELY

    run(Two(), script)
    assert len(prompts) == 4
    assert not any("stop_below" in prompt.lower() or "2.2" in prompt for prompt in prompts)
    assert "stop_below" not in str(Two().explain())


def test_a_forecast_does_not_read_the_threshold() -> None:
    class After(Watched):
        def plan(self, problem: Any) -> Any:
            threshold = rf.call(lambda samples: 2.2, self.solve(problem=problem, n=8))
            more = {"stop_below": threshold} if self.below else {}
            return {"threshold": threshold, "samples": rf.call(list, self.solve(problem=problem, n=8, **more))}

    allowed: list[list[str]] = []
    for below in (2.2, None):
        program = After(below=below)
        program.budget = rf.Budget(total=4_000)
        with dspy.context(lm=rf.scripted(SURELY)):
            allowed.append(re.findall(r"budget: ([\d,]+) output tokens", str(program.explain())))
    assert len(allowed[0]) == 2
    assert allowed[0] == allowed[1]


# The journal ----------------------------------------------------------------------------------------------------------


def test_a_sample_that_was_ended_is_found_again_as_one(tmp_path: Any) -> None:
    def recorded(script: Any, below: float = 2.2) -> Any:
        log = CallLog(tmp_path).open()
        try:
            with surrounded(journal=log.journal(("1", 0))):
                return run(Watched(below=below), script)
        finally:
            log.close()

    first = recorded(falling_if(odd))
    again = recorded(lambda *_: BackendError("nobody asks"))
    assert [bool(sample) for sample in again.samples] == [bool(sample) for sample in first.samples]
    assert all(isinstance(sample.error, BranchGated) for sample in again.samples if not sample)
    assert [sample.watched_score for sample in again.samples if sample] == [
        sample.watched_score for sample in first.samples if sample
    ]
    assert all(span.replayed for span in again.run.spans)
    assert sorted(again.run.notes) == sorted(first.run.notes)
    assert again.run.usage.total_tokens == first.run.usage.total_tokens
    assert again.run.sequential_tokens == first.run.sequential_tokens
    other = recorded(falling_if(odd), below=0.5)
    assert all(other.samples), "another threshold has other samples"


@pytest.mark.parametrize("died_after", range(6))
def test_a_run_goes_on_where_it_died(died_after: int) -> None:
    memory = Memory()
    memory.dies_after = died_after
    with surrounded(journal=memory):
        with pytest.raises(Exception, match=r"gone|failed"):
            run(Watched(), falling_if(odd))
        assert len(memory.kept) == died_after
        memory.dies_after = None
        out = run(Watched(), falling_if(odd))
    assert [span.replayed for span in out.run.spans].count(True) == died_after
    assert sum(map(bool, out.samples)) == 3
    assert out.run.usage.output_tokens == 3 * 6 + 3 * 11


def test_plans_without_it_have_the_digest_they_had() -> None:
    class Plain(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return self.solve(problem=problem)

    assert "gated" not in str(to_json(trace(Plain()).plan))
    plans = [trace(Watched(n=4)).plan, trace(Watched(n=5)).plan]
    assert "'watch': {'score': 'GroupConfidence'" in str(to_json(plans[0]))
    assert digest(plans[0]) != digest(plans[1])


# Other engines --------------------------------------------------------------------------------------------------------


def test_samples_on_another_engine_than_the_runs_are_ended_there() -> None:
    class Away(Watched):
        def __init__(self) -> None:
            super().__init__()
            self.first = rf.Generate("problem -> text", style="text")

        def plan(self, problem: Any) -> Any:
            first = self.first(problem=problem).text
            return {"samples": rf.call(list, self.solve(problem=first, n=6, stop_below=2.2))}

    program = Away()
    program.solve.lm = other = rf.scripted(falling_if(odd), model="other", top_logprobs=20, latency=0.05)
    out = run(program, lambda *_: said("p"))
    assert len(out.run.engines) == 1
    assert {span.output_tokens for span in out.run.spans if span.finish_reason == "gated"} <= set(range(6, 24))
    assert [bool(sample) for sample in out.samples].count(False) == 3
    assert other.engine.runtime.backend.running() == 0


def test_a_server_that_streams_log_probabilities_ends_them_too() -> None:
    with OpenAIServer(answer=lambda prompt, seed, index: "word " * 400, latency_s=2.0) as server:
        lm = rf.openai("m", base_url=server.base_url, max_tokens=400)
        try:
            with dspy.context(lm=lm):
                out = Watched(below=1e6)(problem="p")
        finally:
            lm.engine.close()
    assert not any(out.samples)
    assert all(4 <= span.output_tokens < 200 for span in out.run.spans)
    assert {span.finish_reason for span in out.run.spans} == {"gated"}
