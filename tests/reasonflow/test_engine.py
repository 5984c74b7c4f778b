"""Whole programs on the real engine with the built-in model, whatever that says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.protocol import Completion, Counters, Prompt, Request, Sampling
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.prompts.verdict import NO_LOGPROBS
from reasonflow.runtime.record import Run

pytestmark = pytest.mark.engine

FACTS = " ".join(f"Fact {i}: box {i} holds {i * 7 % 13} red and {i * 5 % 11} blue balls." for i in range(30))


def counters(lm: dspy.LM) -> Counters:
    runtime = lm.engine.runtime
    found: Counters = runtime.run(runtime.backend.counters)
    return found


def call(lm: dspy.LM, program: rf.Program, **inputs: Any) -> Run:
    with dspy.context(lm=lm):
        run: Run = program(**inputs).run
    return run


class Samples(rf.Program):
    """Texts of one prompt, whatever they say: what is counted is tokens."""

    def __init__(self, n: int, tokens: int) -> None:
        self.say = rf.Generate("problem -> reply", style="text", min_tokens=tokens, max_tokens=tokens, ignore_eos=True)
        self.n = n

    def plan(self, problem: Any) -> Any:
        return self.say(problem=problem, n=self.n)


def test_siblings_of_a_cold_prompt_share_all_its_full_blocks(embedded_lm: dspy.LM) -> None:
    run = call(embedded_lm, Samples(8, 16), problem=f"A cold prompt, number 1. {FACTS} How many in box 3?")
    block = embedded_lm.engine.runtime.backend.block_size
    prompt = run.spans[0].input_tokens
    assert prompt >= 4 * block
    full = prompt // block * block
    # The engine computes at least the last token of a prompt, even where it fills its block exactly.
    expected = full if full < prompt else full - block
    assert sorted(span.cached_tokens or 0 for span in run.spans)[1:] == [expected] * 7
    assert f"{run.usage.cached_tokens:,} cached" in str(run.explain())


def test_the_token_trie_foresees_what_an_idle_engine_finds(embedded_lm: dspy.LM) -> None:
    backend = embedded_lm.engine.runtime.backend
    assert backend.kv_tokens > 4 * backend.window
    program = rf.PDR(widths=(4, 2), workspace_tokens=48)
    program.layout = "shared"
    text = item(parse_source("graphmath:hard"), 0).text  # a run without an answer would be an error
    for _ in range(2):  # the second time all of it is known
        run = call(embedded_lm, program, problem=text)
        steps = run.explain().figures.values()  # type: ignore[union-attr]
        assert all(row.foreseen == row.samples for row in steps)
        assert [row.planned_tokens for row in steps] == [row.found_tokens for row in steps]
        assert sum(row.planned_tokens for row in steps) > 5 * len(text) / 8
        assert "were not in the prefix cache" not in str(run.explain())


def test_continuations_are_foreseen_but_for_the_last_token(embedded_lm: dspy.LM) -> None:
    runtime = embedded_lm.engine.runtime
    tokenizer, block = runtime.backend.tokenizer, runtime.backend.block_size
    prompt = tokenizer.encode(f"A text to go on with. {FACTS}")

    def ask(tokens: tuple[int, ...]) -> Completion:
        sampling = Sampling(max_tokens=2 * block, min_tokens=2 * block, ignore_eos=True, temperature=1.0, seed=7)
        request = Request(prompt=Prompt(tokens=tokens), sampling=sampling)
        (completion,) = runtime.run(lambda: runtime.generate(request))
        return completion

    for length in range(len(prompt) - block, len(prompt), 5):  # the text ends everywhere in a block
        first = ask(prompt[:length])
        assert first.cached_tokens == first.planned_tokens
        second = ask((*prompt[:length], *first.tokens, 1, 2, 3))
        assert second.cached_tokens == second.planned_tokens
        assert (second.planned_tokens or 0) > length


def test_sums_of_a_run_equal_the_engines_counters(embedded_lm: dspy.LM) -> None:
    before = counters(embedded_lm)
    program = rf.PDR(widths=(3, 2), workspace_tokens=48)
    run = call(embedded_lm, program, problem="What is 3 + 4? Answer with 7.")
    after = counters(embedded_lm)
    assert run.usage.calls == 3 + 2 + 1 + 2
    assert run.usage.input_tokens == after.prompt_tokens - before.prompt_tokens
    assert run.usage.cached_tokens == after.cached_tokens - before.cached_tokens
    assert run.usage.output_tokens == after.output_tokens - before.output_tokens
    assert after.running == after.waiting == 0


def test_eight_samples_cost_less_than_twice_one(embedded_lm: dspy.LM) -> None:
    def seconds(n: int, attempt: int) -> float:
        program = Samples(n, 48)
        began = time.perf_counter()
        call(embedded_lm, program, problem=f"Attempt {attempt} with {n}. What is 12 + 30? The answer is a number.")
        return time.perf_counter() - began

    alternating = [(seconds(1, attempt), seconds(8, attempt)) for attempt in range(4)]
    one, eight = (min(times) for times in zip(*alternating, strict=True))
    assert eight < 2 * one


@pytest.mark.long
def test_many_seeded_prompts_longer_than_one_step_do_not_hurt_the_engine(embedded_lm: dspy.LM) -> None:
    program = Samples(2, 8)

    async def together() -> list[dspy.Prediction | BaseException]:
        calls = (program.acall(problem=f"{i} {FACTS} {FACTS} {FACTS} What is {i} + 1?") for i in range(6))
        return await asyncio.gather(*calls, return_exceptions=True)

    with dspy.context(lm=embedded_lm):
        outs = asyncio.run(together())
    engine_errors = [out for out in outs if isinstance(out, rf.ReasonFlowError)]
    assert engine_errors == []


def test_seeds_repeat_samples_and_others_differ(embedded_lm: dspy.LM) -> None:
    def text(seed: int) -> str:
        with dspy.context(lm=embedded_lm.copy(seed=seed, max_tokens=24, temperature=2.0)):
            out: str = rf.Generate("problem -> story", style="text")(problem="Tell me about a fox.").story
        return out

    text(1)  # a cached prefix is computed in other steps than a cold one, and bfloat16 rounds differently then
    assert text(1) == text(1)
    assert text(1) != text(2)


def test_a_cancelled_run_leaves_the_engine(embedded_lm: dspy.LM) -> None:
    program = Samples(8, 4_000)

    async def cut_short() -> None:
        task = asyncio.create_task(program.acall(problem="Count as far as you can."))
        await asyncio.sleep(1.0)
        assert counters(embedded_lm).running == 8
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with dspy.context(lm=embedded_lm):
        asyncio.run(cut_short())
    deadline = time.monotonic() + 5
    while counters(embedded_lm).running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counters(embedded_lm).running == 0
    assert embedded_lm.engine.runtime.scheduler.running == 0


class Racing(rf.Program):
    """Two calls of very different forced lengths."""

    def __init__(self) -> None:
        self.short = rf.Generate("problem -> answer", style="text", min_tokens=4, max_tokens=4, ignore_eos=True)
        self.long = rf.Generate("problem -> answer", style="text", min_tokens=400, max_tokens=400, ignore_eos=True)

    def plan(self, problem: Any) -> Any:
        return rf.answer(rf.race(lambda: self.long(problem=problem), lambda: self.short(problem=problem)))


def test_the_loser_of_a_race_leaves_the_engine_within_one_step(embedded_lm: dspy.LM) -> None:
    before = counters(embedded_lm)
    run = call(embedded_lm, Racing(), problem="Name a colour.")
    after = counters(embedded_lm)
    loser = next(span for span in run.spans if span.outcome == "cancelled")
    assert after.running == after.waiting == 0
    assert 0 < loser.output_tokens < 100
    assert loser.tokens_saved == 400 - loser.output_tokens
    assert after.steps - before.steps <= loser.output_tokens + 3
    assert abs(run.usage.output_tokens - (after.output_tokens - before.output_tokens)) <= 1
    assert run.usage.input_tokens == after.prompt_tokens - before.prompt_tokens


def test_a_budget_holds_on_the_real_engine_and_leaves_an_answer(embedded_lm: dspy.LM) -> None:
    program = rf.PDR(widths=(4, 2), config={"max_tokens": 96})
    program.budget = rf.Budget(total=1_500)
    before = counters(embedded_lm)
    run = call(embedded_lm, program, problem="What is 3 + 4? Answer with 7.")
    after = counters(embedded_lm)
    assert run.usage.total_tokens <= 1_500
    spent = after.prompt_tokens - before.prompt_tokens + after.output_tokens - before.output_tokens
    assert spent == run.usage.total_tokens


def test_a_deadline_empties_the_engine_and_keeps_what_was_done(embedded_lm: dspy.LM) -> None:
    class Timed(rf.Program):
        def __init__(self) -> None:
            self.quick = rf.Generate("problem -> answer", style="text", min_tokens=4, max_tokens=4, ignore_eos=True)
            forced = {"min_tokens": 6_000, "max_tokens": 6_000, "ignore_eos": True}
            self.slow = rf.Generate("problem -> answer", style="text", **forced)

        def plan(self, problem: Any) -> Any:
            quick = rf.answer(self.quick(problem=problem))
            return rf.answer(self.slow(problem=quick.answer))

    program = Timed()
    program.budget = rf.Budget(seconds=1.5)
    run = call(embedded_lm, program, problem="Name a colour.")
    found = counters(embedded_lm)
    assert found.running == found.waiting == 0
    assert not run.complete
    assert run.wall_s < 4
    assert [span.outcome for span in run.spans] == ["done", "cancelled"]


def test_a_verdict_is_a_probability_that_the_engine_reports(embedded_lm: dspy.LM) -> None:
    run = call(embedded_lm, rf.BestOfN(n=2, config={"max_tokens": 24}), problem="What is 2 + 3?")
    (note,) = run.notes
    scores = [float(score) for score in note.removeprefix("eligible: scores: ").split(", ")]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
    assert not [repair for repair in run.repairs if NO_LOGPROBS in repair]


def test_a_continued_context_hits_although_its_text_would_encode_otherwise(embedded_lm: dspy.LM) -> None:
    runtime = embedded_lm.engine.runtime
    tokenizer, block = runtime.backend.tokenizer, runtime.backend.block_size

    def ask(tokens: tuple[int, ...], sampling: Sampling) -> Completion:
        request = Request(prompt=Prompt(tokens=tokens), sampling=sampling)
        (completion,) = runtime.run(lambda: runtime.generate(request))
        found: Completion = completion
        return found

    asked = tokenizer.encode(f"A context to be continued. {FACTS}")
    # A model may write a word letter by letter; no tokenizer encodes it so.
    spelled = tuple(token for letter in " holds holds holds" for token in tokenizer.encode(letter))
    begun = (*asked, *spelled)
    some = Sampling(temperature=1.0, min_tokens=3 * block, max_tokens=3 * block, ignore_eos=True, seed=3)
    context = (*begun, *ask(begun, some).tokens)
    again = tokenizer.encode(tokenizer.decode(context))
    assert again != context
    assert again[: len(asked)] == asked

    last = Sampling(temperature=0.0, max_tokens=1)
    continued = ask((*context, *tokenizer.encode(" So it goes on.")), last)
    assert (continued.cached_tokens or 0) >= (len(context) - 1) // block * block
    encoded = ask((*again, *tokenizer.encode(" So it goes on.")), last)
    assert (encoded.cached_tokens or 0) < (len(context) - 1) // block * block


class Stages(rf.Program):
    """Drafts, notes on them, a last word: three stages that read one context, and say what they are made to."""

    def __init__(self) -> None:
        forced: dict[str, Any] = {"style": "text", "min_tokens": 16, "max_tokens": 16, "ignore_eos": True}
        self.draft = rf.Generate(dspy.Signature("context, question -> draft", "Draft an answer."), **forced)
        self.distill = rf.Generate(dspy.Signature("context, drafts: list[str] -> notes", "Make notes."), **forced)
        self.refine = rf.Generate(dspy.Signature("context, question, notes -> answer", "Answer."), **forced)

    def plan(self, context: Any, question: Any) -> Any:
        drafts = self.draft(context=context, question=question, n=3)
        notes = self.distill(context=context, drafts=drafts.draft)
        return self.refine(context=context, question=question, notes=notes.notes)


def test_stages_compute_a_long_context_once_where_dspys_layout_computes_it_each_time(embedded_lm: dspy.LM) -> None:
    tokenizer, block = embedded_lm.engine.runtime.backend.tokenizer, embedded_lm.engine.runtime.backend.block_size

    def cached(layout: str, context: str) -> list[int]:
        program = Stages()
        program.layout = layout  # type: ignore[assignment]
        spans = call(embedded_lm, program, context=context, question="How many in box 3?").spans
        return [span.cached_tokens or 0 for span in spans if span.node in ("distill", "refine")]

    for layout in ("auto", "shared"):
        context = f"Layout {layout}. {FACTS * 4}"
        assert min(cached(layout, context)) >= len(tokenizer.encode(context)) - 2 * block
    assert max(cached("dspy", f"Layout dspy. {FACTS * 4}")) < 3 * block
