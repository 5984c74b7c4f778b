"""The benchmark of prompt compiles on a scripted engine with a prefix cache."""

from __future__ import annotations

from typing import Any

import pytest

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.prompt_compile import ARMS, DIRECT, PLAIN, TUNED, PromptCompile, measure_prompts

PROBLEMS = [
    Problem(id=str(number), inputs={"problem": f"{number} + 1 = ?"}, answer=str(number + 1)) for number in range(6)
]


def write(prompt: str, seed: int | None, index: int) -> str:
    return f"draft {seed} {index} " * 12


def measured(**options: Any) -> PromptCompile:
    given = {"widths": (2,), "trials": 3, "tokens": 24, **options}
    return measure_prompts(PROBLEMS, rf.scripted(write, max_tokens=24), **given)


@pytest.mark.parametrize("by", ["gepa", "miprov2"])
def test_plain_dspy_computes_more_than_twice_as_much_where_inputs_are_long(by: Any) -> None:
    found = measured(by=by)
    assert tuple(found.arms) == ARMS
    assert found.arms[PLAIN].runs == found.arms[DIRECT].runs, "both try the same"
    assert found.figures()["prefill_ratio"] > 2
    assert found.figures()["direct_ratio"] > 2
    assert found.arms[TUNED].written <= found.arms[PLAIN].written, "what was asked before is not asked again"
    report = found.report().to_json()
    assert report["figures"]["prefill_ratio"] == found.figures()["prefill_ratio"]
    assert report["context_tokens"] == 1_536


def test_short_inputs_save_less() -> None:
    assert 1 < measured(context_tokens=0).figures()["prefill_ratio"] < measured().figures()["prefill_ratio"]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UnknownName, match="gepa"):
        measured(by="bootstrap")
    with pytest.raises(InputError, match="too few"):
        measure_prompts(PROBLEMS[:3], rf.scripted(write))
