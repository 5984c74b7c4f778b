"""Branches that begin when those they need have ended."""

from __future__ import annotations

from typing import Any

import anyio
import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import ProgramError, RunError
from reasonflow.runtime.values import Hole

Item = dict[str, Any]


def needs(item: Item) -> list[int]:
    return list(item["needs"])


class Graph(rf.Program):
    """A function once per item, told what the items it needs have given."""

    def __init__(self, work: Any, cap: int = 16) -> None:
        self.work, self.cap = work, cap

    def plan(self, items: Any) -> Any:
        return {"found": rf.each(items, lambda i, found: rf.call(self.work, i, found), cap=self.cap, needs=needs)}


class Asked(rf.Program):
    """A call once per item."""

    def __init__(self) -> None:
        self.solve = rf.Generate("question -> answer", max_tokens=50)

    def plan(self, items: Any) -> Any:
        return {"found": rf.each(items, self.one, cap=8, needs=needs).answer}

    def one(self, item: Any, found: Any) -> Any:
        return self.solve(question=rf.call(asked, item, found))


def asked(item: Item, found: list[Any]) -> str:
    return f"{item['name']}: {' '.join(each.answer for each in found)}"


def graph(*wanted: list[int]) -> list[Item]:
    return [{"name": f"q{number}", "needs": each} for number, each in enumerate(wanted)]


def run(program: rf.Program, items: list[Item], answer: Any = r"\boxed{1}") -> Any:
    with dspy.context(lm=rf.scripted(answer)):
        return program(items=items)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=7))
def test_a_branch_begins_when_those_that_it_needs_have_ended(drawn: list[list[int]]) -> None:
    items = graph(*[[number for number in wanted if number < at] for at, wanted in enumerate(drawn)])
    ended: list[str] = []

    async def work(item: Item, found: list[str]) -> str:
        assert found == [f"q{number}" for number in item["needs"]]
        assert all(name in ended for name in found)
        await anyio.lowlevel.checkpoint()
        ended.append(item["name"])
        return str(item["name"])

    assert run(Graph(work), items).found == [item["name"] for item in items]


def test_those_that_need_nothing_of_each_other_run_side_by_side() -> None:
    running = most = 0

    async def work(item: Item, found: list[str]) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1
        return "done"

    run(Graph(work), graph([], [], [0, 1], [0, 1], [2, 3]))
    assert most == 2


def test_the_longest_chain_is_what_counts_as_sequential() -> None:
    chain = run(Asked(), graph([], [0], [1], []))
    beside = run(Asked(), graph([], [], [], []))
    assert chain.run.usage.calls == beside.run.usage.calls == 4
    one = max(span.input_tokens + span.output_tokens for span in beside.run.spans)
    assert beside.run.sequential_tokens == one
    assert chain.run.sequential_tokens > 2 * one
    assert chain.run.token_latency == 3 * beside.run.token_latency


def test_who_needs_a_branch_that_failed_finds_a_hole() -> None:
    def work(item: Item, found: list[Any]) -> str:
        if item["name"] == "q0":
            raise ValueError("no luck")
        return "hole" if any(isinstance(each, Hole) for each in found) else "whole"

    out = run(Graph(work), graph([], [0], [], [2]))
    assert out.found[1:] == ["hole", "whole", "whole"]
    assert isinstance(out.found[0], Hole)


def test_who_needs_an_item_that_the_cap_leaves_out_finds_a_hole() -> None:
    out = run(Graph(lambda item, found: [isinstance(each, Hole) for each in found], cap=2), graph([], [0, 2], []))
    assert out.found == [[], [False, True]]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (graph([1], [0]), "items 0, 1 of each wait for each other"),
        (graph([0]), "items 0 of each wait for each other"),
        (graph([], [7]), "item 1 of each needs 7"),
        (graph([], [-1]), "item 1 of each needs -1"),
        ([{"needs": [True]}], "item 0 of each needs True"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(items: list[Item], words: str) -> None:
    with pytest.raises(RunError, match=words):
        run(Graph(lambda item, found: "never"), items)


def test_needs_that_are_no_list_are_refused() -> None:
    class Bad(rf.Program):
        def plan(self, items: Any) -> Any:
            return {"found": rf.each(items, lambda i, found: rf.call(len, found), cap=2, needs=lambda item: "01")}

    with pytest.raises(RunError, match="needs is '01'"):
        run(Bad(), graph([], []))


def test_a_body_must_take_what_was_found() -> None:
    class Deaf(rf.Program):
        def plan(self, items: Any) -> Any:
            return {"found": rf.each(items, lambda item: item, cap=2, needs=needs)}

    with pytest.raises(ProgramError, match="takes 1 arguments"):
        run(Deaf(), graph([], []))


def test_a_sequential_budget_holds_along_the_chain() -> None:
    program, items, words = Asked(), graph([], [0], [1], [2]), "word " * 40 + r"\boxed{1}"
    free = run(program, items, words).run.sequential_tokens
    program.budget = rf.Budget(sequential=free - 60)
    held = run(program, items, words)
    assert len(held.found) == 4
    assert held.run.sequential_tokens <= free - 60


def test_the_explanation_says_who_waits() -> None:
    text = str(Asked().explain())
    assert "at most 8, each behind those that it needs" in text
