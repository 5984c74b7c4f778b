"""What an earlier session has recorded is taken as it is, and only the rest is asked."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.protocol import Completion
from reasonflow.runtime.ambient import surrounded


class Memory:
    """A journal in memory that fails after so many records, as a killed process does."""

    def __init__(self) -> None:
        self.kept: dict[str, Completion] = {}
        self.dies_after: int | None = None

    def find(self, key: str) -> Completion | None:
        return self.kept.get(key)

    def keep(self, key: str, completion: Completion) -> None:
        assert key not in self.kept, "recorded twice"
        if self.dies_after is not None and len(self.kept) >= self.dies_after:
            raise OSError("the process is gone")
        self.kept[key] = completion


def run(program: rf.Program, memory: Memory, asked: list[tuple[str, int | None]], **ambient: Any) -> Any:
    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append((prompt, seed))
        return f"{'word ' * ((seed or 0) % 9)}\\boxed{{{(seed or 0) % 3}}}"

    with dspy.context(lm=rf.scripted(answer)), surrounded(journal=memory, **ambient):
        return program(problem="p")


@pytest.mark.parametrize("died_after", range(9))
@pytest.mark.parametrize("budget", [None, rf.Budget(total=100_000)])
def test_a_run_goes_on_where_it_died(died_after: int, budget: rf.Budget | None) -> None:
    program = rf.PDR(widths=(4, 2))
    program.budget = budget
    whole = run(program, Memory(), [])
    memory, asked = Memory(), []
    memory.dies_after = died_after
    with pytest.raises(Exception, match=r"gone|failed"):
        run(program, memory, asked)
    assert len(memory.kept) == died_after
    memory.dies_after = None
    again: list[Any] = []
    out = run(program, memory, again)
    assert out.answer == whole.answer
    assert len(again) == 9 - died_after
    assert [span.replayed for span in out.run.spans].count(True) == died_after
    assert out.run.usage == whole.run.usage or out.run.usage.total_tokens == whole.run.usage.total_tokens
    assert out.run.sequential_tokens == whole.run.sequential_tokens


def test_another_program_finds_nothing_under_its_keys() -> None:
    memory, asked = Memory(), []
    run(rf.SelfConsistency(n=3), memory, [])
    run(rf.SelfConsistency(n=3, config={"temperature": 0.3}), memory, asked)
    assert len(asked) == 3
    run(rf.SelfConsistency(n=5), memory, asked)
    assert len(asked) == 5, "two more samples of the first program"


def test_unreadable_texts_are_recorded_and_asked_again_once() -> None:
    class Judged(rf.Program):
        def __init__(self) -> None:
            self.judge = rf.Generate("problem -> best: int", retries=1)

        def plan(self, problem: Any) -> Any:
            return {"best": self.judge(problem=problem).best}

    texts = iter(["nonsense", "[[ ## best ## ]]\n2\n\n[[ ## completed ## ]]"])
    memory = Memory()
    for _ in range(2):
        with dspy.context(lm=rf.scripted(lambda *_: next(texts))), surrounded(journal=memory):
            assert Judged()(problem="p").best == 2
    assert len(memory.kept) == 2
