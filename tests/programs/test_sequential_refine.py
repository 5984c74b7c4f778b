"""Sequential refinement: what each round reads, with error analysis and without."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError


def run(program: rf.Program, **inputs: Any) -> tuple[Any, list[str]]:
    prompts: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        if "List its flaws" in prompt:
            return f"flaw of call {len(prompts)}"
        return rf"Attempt {len(prompts)}. \boxed{{{len(prompts)}}}"

    with dspy.context(lm=rf.scripted(script)):
        return program(**(inputs or {"problem": "How many?"})), prompts


def test_each_round_reads_the_solution_before_it_and_nothing_else() -> None:
    out, prompts = run(rf.SequentialRefine(rounds=3))
    assert (out.answer, len(prompts)) == ("4", 4)
    for number, prompt in enumerate(prompts[1:], start=1):
        assert "How many?" in prompt
        assert f"Attempt {number}." in prompt
        assert prompt.count("Attempt") == 1
    assert len(out.run.critical_path) == 4


def test_error_analysis_lists_flaws_between_the_rounds() -> None:
    program = rf.SequentialRefine(rounds=2, analyse=True)
    out, prompts = run(program)
    draft, analysis, refined, again, last = prompts
    assert "Attempt" not in draft
    assert "Attempt 1." in analysis
    assert "Do not write a new solution" in analysis
    assert "Attempt 1." in refined
    assert "flaw of call 2" in refined
    assert "Attempt 3." in again
    assert "flaw" not in again.lower().replace("list its flaws", "")
    assert "Attempt 3." in last
    assert "flaw of call 4" in last
    assert "flaw of call 2" not in last
    assert out.answer == "5"
    with dspy.context(lm=rf.scripted("x")):
        assert program.explain().bound.calls == out.run.usage.calls == 1 + 2 * 2


def test_the_analysis_is_no_answer() -> None:
    program = rf.SequentialRefine(rounds=3, analyse=True)
    program.budget = rf.Budget(calls=2)
    out, _ = run(program)
    assert (out.answer, out.run.complete) == ("1", False)


def test_its_length_is_bounded() -> None:
    out, _ = run(rf.SequentialRefine(rounds=1, analyse=True, analysis_tokens=7))
    assert {span.max_tokens for span in out.run.spans if span.node.endswith("analyse")} == {7}


def test_fields_of_the_signature_keep_their_names() -> None:
    out, _ = run(rf.SequentialRefine("solution, flaws -> answer", rounds=1, analyse=True), solution="s", flaws="f")
    assert out.answer == "3"


def test_no_rounds_are_none() -> None:
    with pytest.raises(InputError, match="does not bound"):
        run(rf.SequentialRefine(rounds=0))
