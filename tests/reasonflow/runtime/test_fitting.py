"""Prompts that read many branches are cut to the window, visibly, and nothing else is touched."""

from __future__ import annotations

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import PromptTooLong
from reasonflow.runtime.fitting import level


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 5000))
def test_the_level_uses_the_budget_and_never_exceeds_it(sizes: list[int], budget: int) -> None:
    cap = level(sizes, budget)
    assert sum(min(size, cap) for size in sizes) <= budget or cap == 0
    if cap < max(sizes):
        assert sum(min(size, cap + 1) for size in sizes) > budget - len(sizes)


def test_wide_rounds_are_cut_to_the_window_and_keep_their_answers() -> None:
    prompts: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        return "step " * 120 + f"so it is \\boxed{{{index}}}"

    with dspy.context(lm=rf.scripted(answer, window=1024)):
        out = rf.PDR(widths=(8,), workspace_tokens=64)(problem="p")
    distilling = next(prompt for prompt in prompts if "Draft 8" in prompt)
    assert all(f"\\boxed{{{number}}}" in distilling for number in range(8))
    assert any("branches cut to their last" in repair for repair in out.run.repairs)
    assert out.run.complete


def test_what_cannot_be_cut_is_refused_with_the_numbers() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{1}", window=128)), pytest.raises(PromptTooLong, match="128"):
        rf.ChainOfThought()(problem="word " * 500)
