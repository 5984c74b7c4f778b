"""Solutions in any order and form say the same, and read back as what they were."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.grow import grow
from reasonflow.evals.tasks.knobs import MIXES, Knobs
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.evals.tasks.reading import final_answer, statements, threads
from reasonflow.evals.tasks.solutions import (
    LONGEST_OUTLINE,
    SHORTEST_THREAD,
    direct,
    in_order,
    solution,
    threaded,
    threads_pay,
)
from tests.evals.tasks.random_graphs import knobs, seeds


@given(knobs(), seeds, seeds)
def test_a_solution_in_any_order_is_fully_right(knobs: Knobs, seed: int, order: int) -> None:
    graph = grow(knobs, Random(seed))
    marks = grade(graph, solution(graph, Random(order)))
    assert (marks.correct, marks.share, marks.wrong) == (True, 1.0, ())
    assert [finding.statement.name for finding in marks.findings][-1] == graph.asked
    assert len(marks.findings) == len(graph.needed)


@given(knobs(), seeds, seeds)
def test_operands_stand_first_in_every_order(knobs: Knobs, seed: int, order: int) -> None:
    graph = grow(knobs, Random(seed))
    stated: set[object] = set()
    for quantity in in_order(graph.quantities, Random(order)):
        assert all(operand in stated for operand in quantity.operands if isinstance(operand, str))
        stated.add(quantity.name)
    assert stated == set(graph.values())


def test_drafts_of_one_problem_differ() -> None:
    graph = grow(Knobs(width=(6, 6), depth=(4, 4)), Random(0))
    random = Random(1)
    drafts = {solution(graph, random) for _ in range(50)}
    assert len(drafts) > 45
    assert len({draft.partition("\n")[0] for draft in drafts}) == 6  # each part may begin


@given(knobs(), seeds, seeds)
def test_parts_stand_whole_and_joins_after_them(knobs: Knobs, seed: int, order: int) -> None:
    graph = grow(knobs, Random(seed))
    parts = [quantity.part for quantity in in_order(graph.needed, Random(order))]
    changes = sum(left != right for left, right in pairwise(parts))
    assert changes == len(graph.parts()) - (not graph.joins)
    assert None not in parts[: len(parts) - len(graph.joins)]


@given(seeds, seeds, st.integers(2, 12), st.integers(2, 10))
def test_the_threaded_form_reads_back(seed: int, order: int, width: int, depth: int) -> None:
    graph = grow(Knobs(width=(width, width), depth=(depth, depth)), Random(seed))
    assume(threads_pay(graph))
    text = threaded(graph, Random(order))
    assert {(s.name, s.value) for s in statements(text)} == {(q.name, q.value) for q in graph.needed}
    assert grade(graph, text).share == 1.0
    found = threads(text)
    assert found is not None
    assert list(found.outlines) == list(found.threads) == [str(n) for n in range(1, len(found.threads) + 1)]
    assert 3 <= len(found.threads) <= 6
    assert final_answer(found.tail) == graph.answer
    assert {s.name for s in statements(found.tail)} == {q.name for q in graph.joins}
    owner = {quantity.name: quantity.part for quantity in graph.quantities}
    made_of = {quantity.name: quantity.operands for quantity in graph.needed}
    seen: set[int | None] = set()
    for number, thread in found.threads.items():
        parts = {owner[s.name] for s in statements(thread)}
        assert not parts & seen, "a part stands in two threads"
        seen |= parts
        begins = found.outlines[number].split(", ")
        assert {owner[name] for name in begins} == parts
        stated = statements(thread)
        assert stated[0].name == begins[0]
        known: set[int | str] = set()
        for statement in stated:  # nothing but what the thread has, or the problem gives
            operands = made_of[statement.name]
            assert all(isinstance(operand, int) or operand in known for operand in operands)
            known.add(statement.name)
        assert all(all(isinstance(operand, int) for operand in made_of[name]) for name in begins)
        assert tokens.count(thread) >= SHORTEST_THREAD
        outline = f"<Outline>{number}: {found.outlines[number]}</Outline>"
        assert tokens.count(outline) <= LONGEST_OUTLINE


@given(seeds, seeds)
def test_whether_threads_pay_does_not_depend_on_the_order(seed: int, order: int) -> None:
    graph = grow(Knobs(width=(2, 9), depth=(2, 7)), Random(seed))
    if threads_pay(graph):
        assert threads(threaded(graph, Random(order)))
    else:
        with pytest.raises(InputError, match="no threaded form"):
            threaded(graph, Random(order))


def test_every_problem_of_the_threads_mix_is_worth_its_threads() -> None:
    for split in ("train", "test"):
        source = parse_source(f"graphmath:threads,split={split}")
        assert all(threads_pay(item(source, index).content) for index in range(60))  # type: ignore[arg-type]


def test_the_threaded_text_is_in_the_published_format() -> None:
    graph = grow(Knobs(width=(3, 3), depth=(8, 8)), Random(4))
    lines = threaded(graph, Random(0)).split("\n")
    assert lines[:2] == ["<Parallel>", "<Outlines>"]
    assert lines[5:7] == ["</Outlines>", "<Thread>"]
    assert sum(line.endswith("</Thread><Thread>") for line in lines) == 2
    assert "</Parallel>" in lines


@pytest.mark.parametrize("mix", MIXES)
def test_every_token_is_in_the_vocabulary(mix: str) -> None:
    vocabulary = set(tokens.vocabulary())
    source = parse_source(f"graphmath:{mix}")
    for index in range(10):
        found = item(source, index)
        for text in (found.text, found.solution(Random(index)), direct(found.answer)):
            assert set(tokens.split(text)) <= vocabulary
            assert "".join(tokens.split(text)) == "".join(text.replace("\n", "¶").split()).replace("¶", "\n")
    assert len(vocabulary) < 600


def test_a_number_is_as_many_tokens_as_it_has_digits() -> None:
    assert tokens.split("red jars = 12 + 305 = 317\n\\boxed{317}") == [
        *("red", "jars", "=", "1", "2", "+", "3", "0", "5", "=", "3", "1", "7"),
        *("\n", "\\boxed{", "3", "1", "7", "}"),
    ]
