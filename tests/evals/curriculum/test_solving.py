"""Solutions in every behaviour: right as they stand, and teaching nothing that is wrong."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from reasonflow.evals.curriculum.instructions import Behaviour
from reasonflow.evals.curriculum.solving import in_threads, part_by_part, solved
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.evals.tasks.reading import statements, threads

MID = parse_source("graphmath:mid,split=train")


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


def test_careful_ones_keep_parts_together() -> None:
    graph = item(MID, 1).content
    assert isinstance(graph, Graph)
    parts = [quantity.part for quantity in part_by_part(graph, Random(3))]
    changes = sum(left != right for left, right in pairwise(parts))
    assert changes == len(graph.parts()) - (not graph.joins)
    assert parts[-1] is None or not graph.joins


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
