"""A refinement is right whatever it was made of, and cites only what is known and true."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from reasonflow.evals.curriculum.notes import notes, read_notes
from reasonflow.evals.curriculum.refined import improved, misled, refined
from reasonflow.evals.curriculum.tally import established, stated
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import solution
from tests.evals.curriculum.draft_makers import GRAPHS, drafts_of, graph_of, problem


def check(graph: Graph, text: str, known: Mapping[str, int]) -> None:
    """Right in every line; each line rests on lines before it; cited is exactly what is known, and nothing is idle."""
    marks = grade(graph, text)
    assert marks.correct
    assert [finding.fault for finding in marks.findings] == [""] * text.count("\n")
    values = graph.values()
    by_name = {quantity.name: quantity for quantity in graph.quantities}
    above: set[str] = set()
    used = {graph.asked}
    for finding in marks.findings:
        name, cited = finding.statement.name, not finding.statement.numbers
        assert name not in above
        assert cited == (known.get(name) == values[name])
        if not cited:
            operands = {operand for operand in by_name[name].operands if isinstance(operand, str)}
            assert operands <= above
            used |= operands
        above.add(name)
    assert above == used  # nothing that is not needed


@pytest.mark.parametrize("mix", GRAPHS)
def test_a_refinement_of_notes_or_drafts_is_right_in_every_line(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, count = graph_of(found), 2 + index % 7
        drafts = drafts_of(found, random, count)
        on_them = established(drafts, graph.asked)
        for known in (read_notes(notes(graph, drafts)), on_them, {}):
            for order in (random, None):
                check(graph, refined(graph, known, order), known)
        if not misled(graph, on_them):  # then notes are all that it takes: line by line, from the last up
            text = notes(graph, drafts, longest=10_000)
            lines = refined(graph, read_notes(text)).split("\n")[:-1]
            order = [each.partition(" = ")[0] for each in reversed(text.split("\n"))]
            assert [each.partition(" = ")[0] for each in lines] == list(dict.fromkeys(order))


@pytest.mark.parametrize("mix", GRAPHS)
def test_an_improvement_of_any_attempt_is_right_in_every_line(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, (attempt,) = graph_of(found), drafts_of(found, random, 1)
        whole = final_answer(attempt) is not None
        known = {} if whole else {name: value for name, value in stated(attempt).items() if name != graph.asked}
        check(graph, improved(graph, attempt, random), known)


@pytest.mark.parametrize("mix", GRAPHS)
def test_a_whole_attempt_is_written_anew_in_full_and_one_that_cites_is_cited(mix: str) -> None:
    graph = graph_of(problem(mix, 1))
    attempt = solution(graph, Random(1))
    assert set(improved(graph, attempt, Random(2)).split("\n")) == set(attempt.split("\n"))
    name, value = graph.needed[0].name, graph.needed[0].value
    cites = refined(graph, {name: value}, Random(3))
    assert f"{name} = {value}\n" in cites
    *cited, last = grade(graph, improved(graph, cites, Random(2))).findings
    assert cited
    assert not any(finding.statement.numbers for finding in cited)
    assert (last.statement.name, bool(last.statement.numbers)) == (graph.asked, True)


def test_nothing_known_gives_a_whole_solution_in_different_orders() -> None:
    graph = graph_of(problem("mid", 0))
    texts = {refined(graph, {}, Random(seed)) for seed in range(10)}
    assert len(texts) > 3
    assert all(grade(graph, text).share == 1.0 for text in texts)
    assert len({refined(graph, {}) for _ in range(3)}) == 1


def test_a_known_answer_stands_alone_and_a_wrong_one_is_computed_again() -> None:
    graph = graph_of(problem("mid", 0))
    assert refined(graph, graph.values()) == f"{graph.asked} = {graph.answer}\n\\boxed{{{graph.answer}}}"
    text = refined(graph, {graph.asked: graph.answer + 1, "blue moons": 1})
    assert grade(graph, text).share == 1.0


def test_of_a_part_whose_end_is_known_a_refinement_of_notes_computes_nothing() -> None:
    random = Random(4)
    cited = 0
    for index in range(60):
        found = problem("mid", index)
        graph, drafts = graph_of(found), drafts_of(found, random, 6, rate=0.5)
        known, values = established(drafts, graph.asked), graph.values()
        text = refined(graph, read_notes(notes(graph, drafts, longest=10_000)))
        lines = [finding.statement for finding in grade(graph, text).findings]
        for part in graph.parts():
            if known.get(part[-1].name) == values[part[-1].name]:
                names = {quantity.name for quantity in part}
                lines_of_it = [(line.name, line.numbers) for line in lines if line.name in names]
                assert lines_of_it in ([], [(part[-1].name, ())])  # none where something known is made of it
                cited += len(lines_of_it)
    assert cited > 20


def test_a_wrong_known_value_misleads_where_the_way_back_meets_it() -> None:
    graph = graph_of(problem("mid", 0))
    values = graph.values()
    operand = next(str(name) for name in graph.joins[-1].operands)
    assert graph.joins[-1].name == graph.asked
    assert not misled(graph, {})
    assert not misled(graph, values)
    assert misled(graph, {graph.asked: graph.answer + 1})
    assert misled(graph, {operand: 1_000})
    assert not misled(graph, {operand: 1_000, graph.asked: graph.answer})
