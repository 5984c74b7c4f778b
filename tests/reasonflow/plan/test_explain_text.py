"""The text of an explanation: its tree, its line lengths, its grouped notes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.plan.explain import Measured
from reasonflow.plan.explain_text import WIDTH, columns, grouped


class Nested(rf.Program):
    """Every kind of body, below each other."""

    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: Any) -> Any:
        first = self.solve(problem=problem)

        def rounds() -> Any:
            return rf.loop(lambda state: self.solve(problem=state.text), self.solve(problem=problem), max_rounds=3)

        def branch() -> Any:
            return rf.when(first.answer, rounds, lambda: self.solve(problem=problem))

        return rf.vote(rf.fork(2, branch), by="answer")


def test_a_tree_draws_lines_only_beside_what_follows() -> None:
    lines = str(Nested().explain()).splitlines()
    tree = [line for line in lines if "├" in line or "└" in line]
    assert tree == [
        "├─ solve",
        "├─ fork: 2 branches",
        "│  └─ fork/when: one of two sides",
        "│     ├─ then",
        "│     │  ├─ fork/when.then/solve",
        "│     │  └─ fork/when.then/loop: at most 3 rounds",
        "│     │     └─ fork/when.then/loop/solve",
        "│     └─ otherwise",
        "│        └─ fork/when.otherwise/solve",
        "└─ vote by answer",
    ]
    assert lines[-1] == "      reads fork"


def test_lines_stay_short_and_figures_whole() -> None:
    with dspy.context(lm=rf.scripted("the last number is 5")):
        run = Nested()(problem="p").run
    text = str(run.explain())
    assert max(map(len, text.splitlines())) <= WIDTH
    assert f"{run.spans[0].input_tokens} computed, 0 cached" in text
    assert "\N{NO-BREAK SPACE}" not in text
    assert "→ 1 sample, " in text
    assert " failed" not in text


def test_equal_notes_are_told_once_with_their_number_and_places() -> None:
    found = [
        *(f"draft[{number}]: no box: took the last number" for number in range(11)),
        "refine#2: no box: took the last number",
    ]
    assert grouped(found) == ["12 × no box: took the last number (draft, refine#2)"]
    assert grouped(["a[0]: cut", "b: other", "a[1]: cut"]) == ["2 × cut (a[0], a[1])", "1 × other (b)"]
    assert grouped(["a: what\n  why:  no"]) == ["1 × what why: no (a)"]
    assert grouped([]) == []


def test_of_many_kinds_of_notes_the_first_are_shown() -> None:
    shown = grouped(f"a: item {number}" for number in range(14))
    assert len(shown) == 11
    assert shown[-1].startswith("4 other kinds")


def test_repairs_and_failures_of_a_run_are_grouped() -> None:
    with dspy.context(lm=rf.scripted("the last number is 5")):
        explanation = rf.SelfConsistency(n=12)(problem="p").run.explain()
    text = str(replace(explanation, failures=("draft[0]: RunError: no", "draft[1]: RunError: no")))
    assert text.count("repaired:") == 1
    assert "repaired: 12 × no \\boxed: took the last number (solve)" in text
    assert "failed: 2 × RunError: no (draft[0], draft[1])" in text


def test_failures_have_a_column_only_where_there_are_some() -> None:
    assert not {"failed", "repaired"} & set(columns([Measured(samples=2)]))
    assert columns([Measured(), Measured(failed=1)])[-1] == "failed"
