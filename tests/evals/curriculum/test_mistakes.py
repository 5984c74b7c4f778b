"""A wrong solution is wrong, readable, consistent in itself, and not always wrong in the same way."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.mistakes import cut, mistaken, slipped
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.constraints import System
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.grow import grow
from reasonflow.evals.tasks.knobs import Knobs
from reasonflow.evals.tasks.reading import final_answer, statements
from tests.evals.curriculum.draft_makers import GRAPHS, graph_of, problem
from tests.evals.tasks.random_graphs import knobs, seeds

LINE = re.compile(r"[a-z]+( [a-z]+)? = \d{1,3}( [-+*/%] \d{1,3})? = \d{1,3}")


def read(text: str) -> None:
    """Every line but the last is a statement that the graders read; the last one is the box."""
    *lines, box = text.split("\n")
    assert all(LINE.fullmatch(line) for line in lines), text
    assert len(statements(text)) == len(lines)
    assert re.fullmatch(r"\\boxed\{\d{1,3}\}", box)


@given(knobs(), seeds, seeds, st.integers(1, 6))
def test_of_any_graph_the_box_is_wrong_and_lines_are_readable(knobs: Knobs, seed: int, order: int, count: int) -> None:
    graph = grow(knobs, Random(seed))
    text = mistaken(graph, Random(order), count)
    read(text)
    assert final_answer(text) != graph.answer
    assert {statement.name for statement in statements(text)} <= {quantity.name for quantity in graph.needed}


@pytest.mark.parametrize("mix", [*GRAPHS, "constraints"])
def test_of_every_mix_the_box_is_wrong_and_lines_are_readable(mix: str) -> None:
    random = Random(mix)
    for index in range(30):
        found = problem(mix, index)
        for count in (1, 2, 3):
            text = mistaken(found.content, random, count)
            read(text)
            assert not grade(found.content, text).correct


@pytest.mark.parametrize("mix", ["mid", "constraints"])
def test_a_wrong_value_is_carried_on(mix: str) -> None:
    """One mistake makes at most one line that does not follow from those before it; values are clamped."""
    random = Random(1)
    for index in range(40):
        content = problem(mix, index).content
        text = mistaken(content, random)
        strays = strays_of_graph(content, text) if isinstance(content, Graph) else strays_of_system(content, text)
        assert strays <= 1, text


def strays_of_graph(graph: Graph, text: str) -> int:
    """How many lines, the box included, are not what the graph makes of the values that the text itself states."""
    said = {statement.name: statement for statement in statements(text)}
    left_out, strays = set(), 0
    for quantity in graph.needed:
        line = said.get(quantity.name)
        if line is None:
            left_out.add(quantity.name)
            continue
        names = [operand for operand in quantity.operands if isinstance(operand, str)]
        if left_out & set(names):
            continue  # which value stands there is open
        made = [said[operand].value if isinstance(operand, str) else operand for operand in quantity.operands]
        strays += tuple(made) != line.numbers or quantity.sign != line.sign or not follows(line.sign, made, line.value)
    return strays + len(left_out) + (final_answer(text) != said[graph.asked].value)


def follows(sign: str, made: list[int], value: int) -> bool:
    exact = {"": lambda: made[0], "+": lambda: sum(made), "-": lambda: made[0] - made[1]}
    exact |= {"*": lambda: made[0] * made[1], "/": lambda: made[0] // made[1], "%": lambda: made[0] % made[1]}
    return value == min(max(exact[sign](), 0), 999)


def strays_of_system(system: System, text: str) -> int:
    lines, said, before = statements(text), dict[str, int](), system.constraints[0].numbers[0]
    strays = sum(not follows(line.sign, list(line.numbers), line.value) for line in lines)
    for line in lines:
        if line.name == system.unknowns[0]:  # made of the candidate before it, or of the lowest number
            before = said.get(line.name, before)
            assert line.numbers[0] in (before, system.constraints[0].numbers[0]), text
        else:
            assert before in line.numbers, text
        said[line.name] = before = line.value
    taken = said["rest"] != system.constraints[-1].numbers[1]
    # A search that tried every candidate because a slip hid the right one ends without a right rest.
    exhausted = text.count("rest =") == len(system.candidates())
    return strays + (taken and not exhausted) + (final_answer(text) != said[system.asked])


def test_mistakes_are_of_many_kinds() -> None:
    random, kinds = Random(2), Counter[str]()
    for index in range(60):
        graph = graph_of(problem("mid", index))
        for _ in range(5):
            text = mistaken(graph, random)
            marks = grade(graph, text)
            said = {finding.statement.name: finding.statement for finding in marks.findings}
            first = next((finding for finding in marks.findings if finding.fault), None)
            if len(said) < len(graph.needed):
                kinds["left out"] += 1
            elif first is None:
                others = {line.value for name, line in said.items() if name != graph.asked}
                kinds["other box" if marks.answer in others else "box"] += 1
            elif first.fault == "arithmetic":
                kinds["arithmetic"] += 1
            else:
                own = next(quantity for quantity in graph.quantities if quantity.name == first.statement.name)
                kinds["operand" if own.sign == first.statement.sign else "sign"] += 1
    assert set(kinds) == {"left out", "other box", "box", "arithmetic", "operand", "sign"}
    assert min(kinds.values()) >= 3


def test_more_mistakes_leave_less_that_is_right() -> None:
    def mean(count: int) -> float:
        random = Random(3)
        shares = [
            grade(problem("hard", index).content, mistaken(problem("hard", index).content, random, count)).share
            for index in range(60)
        ]
        return sum(shares) / len(shares)

    assert mean(1) > mean(3) + 0.1 > mean(6) + 0.2


def test_a_candidate_that_fails_is_taken_by_some() -> None:
    system = problem("constraints", 1).content
    assert isinstance(system, System)
    wanted = system.constraints[-1].numbers[1]
    rests = [statements(mistaken(system, Random(seed)))[-1] for seed in range(60)]
    assert all(rest.name == "rest" for rest in rests)
    assert 5 < sum(rest.value != wanted for rest in rests) < 55


def test_less_than_one_mistake_is_refused() -> None:
    with pytest.raises(InputError, match="mistakes=0"):
        mistaken(problem("mid", 0).content, Random(0), 0)


@given(st.integers(0, 999), seeds)
def test_a_slip_gives_another_number_of_the_range(value: int, seed: int) -> None:
    other = slipped(value, Random(seed))
    assert other != value
    assert 0 <= other <= 999


@given(st.integers(0, 5), st.integers(0, 300))
def test_a_cut_text_is_the_beginning_with_so_many_tokens(index: int, limit: int) -> None:
    text = problem("mid", index).solution(Random(index))
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert tokens.split(kept) == tokens.split(text)[:limit]


def test_a_cut_may_end_inside_a_number() -> None:
    assert cut("blue kites = 51 + 105 = 156", 6) == "blue kites = 51 +"
    assert cut("blue kites = 51 + 105 = 156", 4) == "blue kites = 5"
