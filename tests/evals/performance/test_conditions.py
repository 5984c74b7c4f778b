from __future__ import annotations

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import InputError
from reasonflow.evals.performance import conditions
from reasonflow.evals.performance.traffic import recorded

Solver = rf.ChainOfThought


def test_every_second_repeat_runs_the_arms_in_the_opposite_order() -> None:
    assert list(conditions.turns(("a", "b"), 3)) == [(1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")]


def test_a_cache_that_is_emptied_knows_nothing() -> None:
    lm = rf.scripted("four")
    program = Solver()
    conditions.write_exactly(program, 4)
    found = []
    for emptied in (False, False, True):
        if emptied:
            conditions.forget(lm)
        with dspy.context(lm=lm), recorded(lm) as traffic:
            program(problem="What is 2 + 2? " * 20)
        found.append(traffic.hit)
    assert found[0] == found[2] == 0
    assert found[1] > 0.5


def test_what_was_recorded_is_what_the_run_used() -> None:
    lm = rf.scripted(r"It is \boxed{4}.")
    with dspy.context(lm=lm), recorded(lm) as traffic:
        out = rf.SelfConsistency(n=3)(problem="What is 2 + 2?")
    assert len(traffic.samples) == 3
    assert traffic.prompt_tokens == out.run.usage.input_tokens
    assert traffic.computed == out.run.usage.computed_tokens
    assert traffic.output_tokens == out.run.usage.output_tokens
    assert lm.engine.runtime.backend.__class__ is ScriptedBackend


def test_an_engine_that_cannot_forget_is_refused() -> None:
    with pytest.raises(InputError, match="no engine of ours"):
        conditions.forget(dspy.LM("openai/none"))


def test_a_filler_has_the_length_that_was_asked_for() -> None:
    tokenizer = ScriptedBackend("x").tokenizer
    text = conditions.filler(tokenizer, 200, seed=1)
    assert 190 <= len(tokenizer.encode(text)) <= 200
    assert text != conditions.filler(tokenizer, 200, seed=2)


def test_the_cache_of_an_engine_has_a_size() -> None:
    assert conditions.kv_tokens(rf.scripted("x", kv_blocks=10, block_size=8)) == 80


@pytest.mark.engine
def test_the_real_engine_forgets_and_says_how_much_it_holds(embedded_lm: dspy.LM) -> None:
    conditions.start(embedded_lm)
    assert conditions.kv_tokens(embedded_lm) > 8192
    program = Solver()
    conditions.write_exactly(program, 4)
    hits = []
    for _ in range(2):
        conditions.forget(embedded_lm)
        with dspy.context(lm=embedded_lm), recorded(embedded_lm) as traffic:
            program(problem="What is 2 + 2? " * 20)
        hits.append(traffic.hit)
    assert hits == [0, 0]
