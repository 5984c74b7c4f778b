"""An arm's evaluation: its texts are there with its samples, whatever happens in between."""

from __future__ import annotations

from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import dspy
from rich.console import Console

import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.suites.arms import Arm, answer_of, is_right, run_arm
from reasonflow.evals.suites.calls import FILE, Call
from reasonflow.evals.suites.suite import Setting

PROBLEMS = [Problem(id=f"p{n}", inputs={"problem": f"{n} + {n}"}, answer=str(2 * n)) for n in range(3)]


def run(out: Path, lm: dspy.LM, program: dspy.Module) -> tuple[Arm, str]:
    told = StringIO()
    setting = Setting(open=lambda _: lm, model="m", limit=3, seed=0, out=out, console=Console(file=told))
    return anyio.run(partial(run_arm, setting, lm, "an/arm", program, PROBLEMS)), told.getvalue()


def reply(prompt: str, seed: int | None, index: int) -> Any:
    if "2 + 2" in prompt:
        return ValueError("no answer to this")
    return "<think>hm</think>So \\boxed{2}" if "1 + 1" in prompt else "So \\boxed{7}"


def test_the_texts_of_every_branch_are_kept_in_order(tmp_path: Path) -> None:
    found, told = run(tmp_path, rf.scripted(reply), rf.SelfConsistency(n=3))
    assert found.verdicts == [[0.0], [1.0], [0.0]]
    zero, one, two = (calls for *_, calls in found.runs())
    assert [(call.node, call.indices) for call in one] == [("solve", (0,)), ("solve", (1,)), ("solve", (2,))]
    assert [answer_of(call) for call in zero] == ["7"] * 3
    assert sum(call.tokens for call in one) == found.samples[1].total_tokens
    assert two == ()  # it failed
    assert "an/arm: SelfConsistency on 3 problems" in told


def test_what_is_recorded_is_found_again_and_half_a_line_is_not(tmp_path: Path) -> None:
    first, _ = run(tmp_path, rf.scripted(reply), rf.SelfConsistency(n=3))
    with (tmp_path / "an/arm" / FILE).open("a", encoding="utf-8") as file:
        file.write('{"id": "p1", "sample"')
    second, _ = run(tmp_path, rf.scripted(lambda *_: "never asked"), rf.SelfConsistency(n=3))
    assert second.calls == first.calls
    assert second.samples == first.samples


def test_a_line_of_a_run_that_was_not_recorded_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "an/arm"
    folder.mkdir(parents=True)
    stale = '{"id": "p1", "sample": 0, "calls": []}\n'
    (folder / FILE).write_text(stale, encoding="utf-8")
    found, _ = run(tmp_path, rf.scripted(reply), rf.ChainOfThought())
    assert len(found.calls["p1", 0]) == 1
    again, _ = run(tmp_path, rf.scripted(reply), rf.ChainOfThought())
    assert again.calls == found.calls


def test_answers_are_read_as_programs_read_them() -> None:
    call = Call(node="solve", indices=(), text="<think>\\boxed{1}</think>a = 2 = 2", input_tokens=1, output_tokens=1)
    assert answer_of(call) == "2"
    assert is_right(PROBLEMS[1], "2")
    assert not any(is_right(PROBLEMS[1], answer) for answer in (None, "", "3", "x + 1"))
