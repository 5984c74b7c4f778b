"""The figures of section "what a run reports", against sums done by hand."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.runtime.record import _FIRST_FIELDS


class Two(rf.Program):
    """Two drafts of different lengths, then one call that reads both."""

    def __init__(self) -> None:
        self.short = rf.Generate("problem -> answer", style="text")
        self.long = rf.Generate("problem -> answer", style="text")
        self.join = rf.Generate("one, two -> answer", style="text")

    def plan(self, problem: Any) -> Any:
        return self.join(one=self.short(problem=problem).text, two=self.long(problem=problem).text)


def test_the_critical_path_is_the_longer_sibling_and_the_join() -> None:
    answers = {"short": "a b", "long": "a b c d e f g h", "join": "x y"}

    def answer(prompt: str, seed: int | None, index: int) -> str:
        return next(text for name, text in answers.items() if f"{name} it" in prompt)

    program = Two()
    for name in answers:
        site = getattr(program, name)
        site.signature = site.signature.with_instructions(f"Please {name} it.")
    with dspy.context(lm=rf.scripted(answer)):
        run = program(problem="p").run
    spans = {span.node: span for span in run.spans}

    def size(name: str) -> int:
        return spans[name].input_tokens + spans[name].output_tokens

    assert [span.node for span in run.critical_path] == ["long", "join"]
    assert run.sequential_tokens == size("long") + size("join")
    assert run.token_latency == spans["long"].output_tokens + spans["join"].output_tokens
    assert run.usage.total_tokens == sum(map(size, answers))
    outputs = sum(span.output_tokens for span in run.spans)
    assert run.self_parallelism == pytest.approx(outputs / run.token_latency)
    assert run.usage.computed_tokens + run.usage.cached_tokens == run.usage.input_tokens


def test_a_record_is_json_and_knows_its_engine() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}", seed=5)):
        run = rf.SelfConsistency(n=3)(problem="p").run
    data = json.loads(json.dumps(run.to_json()))
    assert data["seed"] == 5
    assert data["usage"]["calls"] == 3
    assert len(data["spans"]) == 3
    assert data["fingerprint"]
    assert data["complete"] is True


def test_retries_ask_again_with_other_seeds_and_are_counted() -> None:
    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(seed)
        return "no structure" if len(asked) == 1 else "[[ ## a ## ]]\n1\n\n[[ ## b ## ]]\n2\n\n[[ ## completed ## ]]"

    class Pair(rf.Program):
        def __init__(self) -> None:
            self.ask = rf.Generate("problem -> a: int, b: int", retries=1)

        def plan(self, problem: Any) -> Any:
            return self.ask(problem=problem)

    asked: list[int | None] = []
    with dspy.context(lm=rf.scripted(answer)):
        out = Pair()(problem="p")
    assert (out.a, out.b) == (1, 2)
    assert len(set(asked)) == 2
    assert [span.outcome for span in out.run.spans] == ["failed", "done"]
    assert out.run.sequential_tokens == out.run.usage.total_tokens


def test_a_call_that_cannot_be_parsed_is_an_error_with_the_predictors_signature() -> None:
    class Pair(rf.Program):
        def __init__(self) -> None:
            self.ask = rf.Generate("problem -> a: int, b: int")

        def plan(self, problem: Any) -> Any:
            return self.ask(problem=problem)

    program = Pair()
    with dspy.context(lm=rf.scripted("nothing")), pytest.raises(dspy.utils.exceptions.AdapterParseError) as caught:
        program(problem="p")
    assert caught.value.signature is program.ask.signature


def test_only_the_solution_flows_on_and_thinking_never() -> None:
    prompts: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        return "<think>secret thoughts</think>one two three four five six \\boxed{1}"

    program = rf.SequentialRefine(rounds=1, solution_tokens=6)
    with dspy.context(lm=rf.scripted(answer)):
        out = program(problem="p")
    assert out.answer == "1"
    assert "secret" not in prompts[1]
    assert "six \\boxed{1}" in prompts[1]
    assert "one two" not in prompts[1]


def test_greedy_samples_run_once() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}", temperature=0.0)):
        out = rf.SelfConsistency(n=8)(problem="p")
    assert out.answer == "1"
    assert out.run.usage.calls == 1


def test_a_span_has_every_field_and_is_what_its_constructor_makes() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}", latency=0.01)):
        [span] = rf.ChainOfThought()(problem="p").run.spans
    assert list(vars(span)) == list(type(span).__dataclass_fields__)
    assert type(span)(**vars(span)) == span


def test_spans_pickled_before_they_knew_their_first_token_are_read() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}", latency=0.01)):
        [span] = rf.ChainOfThought()(problem="p").run.spans
    assert span.first_token_s is not None
    assert pickle.loads(pickle.dumps(span)) == span
    old = [getattr(span, name) for name in span.__dataclass_fields__ if name in _FIRST_FIELDS]
    found = object.__new__(type(span))
    found.__setstate__(old)
    assert (found.node, found.replayed, found.inner, found.first_token_s) == (span.node, False, "", None)
    assert found.total_s == span.total_s


def test_a_result_survives_pickling_and_copying_with_its_run() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        out = rf.PDR(widths=(2,))(problem="p")
    back = pickle.loads(pickle.dumps(out))
    assert back.answer == "1"
    assert back.run.to_json() == out.run.to_json()
    assert str(back.run.explain()) == str(out.run.explain())
    assert back.run._repr_html_() == out.run._repr_html_()
    assert json.dumps(back.run.explain().to_json()) == json.dumps(out.run.explain().to_json())
    assert copy.deepcopy(out).run is out.run
