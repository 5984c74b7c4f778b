"""Grading: right lines are right, a changed one is named with what is wrong with it, and no text makes it raise."""

from __future__ import annotations

import asyncio
from random import Random

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.tasks.grading import grade, share_right
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.grow import grow
from reasonflow.evals.tasks.knobs import Knobs
from reasonflow.evals.tasks.problems import examples, item_at
from reasonflow.evals.tasks.reading import final_answer, statements, threads
from reasonflow.evals.tasks.solutions import solution, threaded
from tests.evals.tasks.random_graphs import knobs, seeds

GRAPH = Graph(
    (
        Quantity("red jars", "", (12,), 12, 0),
        Quantity("blue pens", "+", ("red jars", 30), 42, 0),
        Quantity("old hats", "", (5,), 5, 1),
        Quantity("new cups", "-", ("blue pens", "old hats"), 37, None),
        Quantity("wet oars", "*", ("old hats", 3), 15, None, needed=False),
    ),
    "new cups",
)
RIGHT = "red jars = 12 = 12\nblue pens = 12 + 30 = 42\nold hats = 5 = 5\nnew cups = 42 - 5 = 37\n\\boxed{37}"


@given(knobs(), seeds, st.data())
def test_a_changed_value_is_caught_and_named(knobs: Knobs, seed: int, data: st.DataObject) -> None:
    graph = grow(knobs, Random(seed))
    *lines, boxed = solution(graph, Random(seed)).split("\n")
    place = data.draw(st.integers(0, len(lines) - 1))
    start, _, value = lines[place].rpartition(" = ")
    lines[place] = f"{start} = {data.draw(st.integers(0, 999).filter(lambda new: new != int(value)))}"
    marks = grade(graph, "\n".join([*lines, boxed]))
    name = lines[place].partition(" = ")[0]
    assert marks.wrong == (name,)
    assert [(f.statement.name, f.fault) for f in marks.findings if f.fault] == [(name, "arithmetic")]
    assert marks.correct


@pytest.mark.parametrize(
    ("old", "new", "fault", "arithmetic", "true_value"),
    [
        ("12 + 30 = 42", "12 + 30 = 43", "arithmetic", False, False),
        ("12 + 30 = 42", "12 + 31 = 43", "expression", True, False),
        ("12 + 30 = 42", "21 * 2 = 42", "expression", True, True),
        ("12 + 30 = 42", "12 + 30 = 42 = 42", None, True, True),
        ("12 + 30 = 42", "41", "value", True, False),
        ("12 + 30 = 42", "42", "", True, True),
        ("12 + 30 = 42", "30 + 12 = 42", "", True, True),
        ("42 - 5 = 37", "5 - 42 = -37", "expression", True, False),
        ("blue pens", "blue pans", "unknown name", True, False),
    ],
)
def test_what_is_wrong_with_a_line(old: str, new: str, fault: str | None, arithmetic: bool, true_value: bool) -> None:
    assert RIGHT.count(old) == 1
    marks = grade(GRAPH, RIGHT.replace(old, new))
    name = "new cups" if "-" in old else "blue pans" if old == "blue pens" else "blue pens"
    found = [f for f in marks.findings if f.statement.name == name]
    if fault is None:  # no line of the form
        assert found == []
    else:
        assert [(f.fault, f.arithmetic, f.true_value) for f in found] == [(fault, arithmetic, true_value)]
    assert (marks.share == 1.0) == (fault == "")


def test_an_inherited_error_and_a_slip_are_told_apart() -> None:
    marks = grade(GRAPH, RIGHT.replace("12 + 30 = 42", "12 + 30 = 52").replace("42 - 5 = 37", "52 - 5 = 47"))
    assert [f.fault for f in marks.findings] == ["", "arithmetic", "", "expression"]
    assert marks.findings[-1].arithmetic
    assert marks.right == ("red jars", "old hats")
    assert marks.share == 0.5


def test_a_line_that_is_written_again_replaces_the_earlier_one() -> None:
    assert grade(GRAPH, "blue pens = 12 + 30 = 44\n" + RIGHT).share == 1.0
    assert grade(GRAPH, RIGHT + "\nblue pens = 12 + 30 = 44").wrong == ("blue pens",)


def test_distractors_count_for_nothing_but_are_known() -> None:
    marks = grade(GRAPH, RIGHT + "\nwet oars = 5 * 3 = 15")
    assert marks.share == 1.0
    assert marks.findings[-1].fault == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{37}", 37),
        ("\\boxed{ 37 } and \\boxed{38}", 38),
        ("\\boxed{0037}", 37),
        ("37", None),
        ("", None),
        ("\\boxed{3.7}", None),
    ],
)
def test_the_final_answer_is_what_stands_in_the_last_box(text: str, answer: int | None) -> None:
    assert final_answer(text) == answer
    assert grade(GRAPH, text).correct == (answer == 37)


def test_lines_may_be_written_in_other_ways() -> None:
    text = "- The Red Jars = 12\n2: blue pens=12+30=42\n  * old hats = 5 = 5  \nnew cups = 42 − 5 = 37"
    assert grade(GRAPH, text).share == 1.0


@given(st.text(alphabet="re djas=+-*/%0123456789\n<>Thread:\\boxed{}ab ", max_size=200))
def test_no_text_makes_the_graders_raise(text: str) -> None:
    assert 0 <= grade(GRAPH, text).share <= 1
    assert isinstance(statements(text), list)
    threads(text)


def test_a_cut_threaded_text_counts_what_it_has() -> None:
    graph = grow(Knobs(width=(3, 3), depth=(8, 8)), Random(2))
    text = threaded(graph, Random(0))
    cut = text[: text.index("<Thread>\n2:")]
    assert threads(cut) is None
    assert 0 < grade(graph, cut).share < 1


def test_the_metric_scores_what_a_program_wrote() -> None:
    devset = examples("graphmath:easy", size=3)
    solutions = {example.problem: item_at(example.address).solution(Random(0)) for example in devset}

    def reply(prompt: str, *_: object) -> str:
        return next(text for problem, text in solutions.items() if problem in prompt)

    async def measured(lm: dspy.LM) -> float:
        program = rf.ChainOfThought("problem -> answer")
        found = await rf.evaluate(program, devset, metric=share_right, lm=lm, show_progress=False)
        return float(found.score)

    assert asyncio.run(measured(rf.scripted(lambda *args: reply(str(args[0]))))) == 100.0
    half = asyncio.run(measured(rf.scripted(lambda *args: reply(str(args[0])).partition("\n")[2])))
    assert 0 < half < 100


def test_the_metric_wants_an_address() -> None:
    with pytest.raises(InputError, match="address"):
        share_right(dspy.Example(problem="?", answer="1"), dspy.Prediction(answer="1"))
