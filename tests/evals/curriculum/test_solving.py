"""Solutions in every behaviour: right as they stand, and teaching nothing that is wrong."""

from __future__ import annotations

from random import Random

import pytest

from reasonflow.evals.curriculum.instructions import Behaviour
from reasonflow.evals.curriculum.solving import in_threads, solved
from reasonflow.evals.curriculum.tally import stated
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph, Quantity
from reasonflow.evals.tasks.problems import Item, item, parse_source
from reasonflow.evals.tasks.reading import statements, threads

MID = parse_source("graphmath:mid,split=train")


def needed(found: Item) -> tuple[Quantity, ...]:
    assert isinstance(found.content, Graph)
    return found.content.needed


@pytest.mark.parametrize("behaviour", ["", "short", "careful", "check"])
def test_solutions_are_right(behaviour: Behaviour) -> None:
    for index in range(30):
        found = item(MID, index)
        marks = grade(found.content, "".join(piece.text for piece in solved(found, behaviour, Random(index))))
        assert marks.correct
        assert marks.share == 1.0  # a line that is written again replaces the earlier one


def test_short_ones_have_no_expressions() -> None:
    (piece,) = solved(item(MID, 0), "short", Random(0))
    assert all(not line.numbers for line in statements(piece.text))


def test_careful_ones_name_what_their_numbers_stand_for() -> None:
    found = item(MID, 1)
    (piece,) = solved(found, "careful", Random(0))
    for text in piece.text.split("\n")[:-1]:
        (line,) = statements(text)
        parts = text.split(" = ")
        assert len(parts) == (4 if line.sign else 3)
        if line.sign:
            named, values = parts[1], found.content.values()
            for name in values:
                named = named.replace(name, str(values[name]))
            assert named == parts[2]
    assert stated(piece.text) == {quantity.name: quantity.value for quantity in needed(found)}


def test_only_slips_are_left_out_of_the_loss() -> None:
    slips = 0
    for index in range(40):
        found = item(MID, index)
        values = found.content.values()
        text = ""
        for piece in solved(found, "check", Random(index)):
            if not piece.learned:
                name = text.rpartition("\n")[2].partition(" = ")[0]
                assert int(piece.text) != values[name]
                slips += 1
            text += piece.text
    assert slips > 40


def test_threads_stand_in_a_thought_that_the_answer_follows() -> None:
    wide = item(parse_source("graphmath:threads,width=3,split=train"), 0)
    assert isinstance(wide.content, Graph)
    text = in_threads(wide.content, Random(0))
    assert text.startswith("<think>\n<Parallel>")
    assert text.endswith(f"</think>\n\\boxed{{{wide.answer}}}")
    block = threads(text)
    assert block is not None
    assert len(block.threads) == len(block.outlines) == 3
