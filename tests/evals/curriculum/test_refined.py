"""A refinement is right whatever it was made of, and cites only what is true and settled."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from reasonflow.evals.curriculum.notes import notes, read_notes
from reasonflow.evals.curriculum.refined import improved, misled, refined
from reasonflow.evals.curriculum.tally import Counts, agreed, settled, tally
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import solution
from tests.evals.curriculum.draft_makers import GRAPHS, drafts_of, graph_of, problem


def check(graph: Graph, text: str, known: Mapping[str, Counts], drafts: int) -> None:
    """Right in every line; each line rests on lines before it; cited is exactly what may be, and nothing is idle."""
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
        true_and_settled = settled(known.get(name, ()), drafts) == values[name]
        assert cited == (true_and_settled and name != graph.asked)
        if not cited:
            operands = {operand for operand in by_name[name].operands if isinstance(operand, str)}
            assert operands <= above
            used |= operands
        above.add(name)
    assert above == used  # nothing that is not needed


def check_refined(graph: Graph, text: str, known: Mapping[str, Counts], drafts: int) -> None:
    """The same, but for an answer that most drafts agree on."""
    counts = known.get(graph.asked, ())
    if agreed(counts, drafts) and counts[0][0] == graph.answer:
        assert text == f"{graph.asked} = {graph.answer}\n\\boxed{{{graph.answer}}}"
    else:
        check(graph, text, known, drafts)


@pytest.mark.parametrize("mix", GRAPHS)
def test_a_refinement_of_notes_or_drafts_is_right_in_every_line(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, count = graph_of(found), 1 + index % 8
        drafts = drafts_of(found, random, count)
        for known in (read_notes(notes(graph, drafts)), tally(drafts), {}):
            for order in (random, None):
                check_refined(graph, refined(graph, known, count, order), known, count)
        if not misled(graph, tally(drafts), count):  # then notes are all that it takes: line by line, from the last up
            text = notes(graph, drafts, longest=10_000)
            lines = refined(graph, read_notes(text), count).split("\n")[:-1]
            assert [each.partition(" = ")[0] for each in lines] == [
                each.partition(" = ")[0] for each in reversed(text.split("\n"))
            ]


@pytest.mark.parametrize("mix", GRAPHS)
def test_an_improvement_of_any_attempt_is_right_in_every_line(mix: str) -> None:
    random = Random(mix)
    for index in range(40):
        found = problem(mix, index)
        graph, (attempt,) = graph_of(found), drafts_of(found, random, 1)
        whole = final_answer(attempt) is not None
        known = {} if whole else tally([attempt])
        check(graph, improved(graph, attempt, random), known, 1)


@pytest.mark.parametrize("mix", GRAPHS)
def test_a_whole_attempt_is_written_anew_in_full_and_one_that_cites_is_cited(mix: str) -> None:
    graph = graph_of(problem(mix, 1))
    attempt = solution(graph, Random(1))
    assert set(improved(graph, attempt, Random(2)).split("\n")) == set(attempt.split("\n"))
    name, value = graph.needed[0].name, graph.needed[0].value
    cites = refined(graph, {name: ((value, 2),)}, 2, Random(3))
    assert f"{name} = {value}\n" in cites
    *cited, last = grade(graph, improved(graph, cites, Random(2))).findings
    assert cited
    assert not any(finding.statement.numbers for finding in cited)
    assert (last.statement.name, bool(last.statement.numbers)) == (graph.asked, True)


def test_nothing_known_gives_a_whole_solution_in_different_orders() -> None:
    graph = graph_of(problem("mid", 0))
    texts = {refined(graph, {}, 4, Random(seed)) for seed in range(10)}
    assert len(texts) > 3
    assert all(grade(graph, text).share == 1.0 for text in texts)


def test_a_wrong_value_on_which_all_drafts_agree_is_computed_again() -> None:
    graph = graph_of(problem("mid", 0))
    known = {graph.asked: ((graph.answer + 1, 8),), "blue moons": ((1, 8),)}
    text = refined(graph, known, 8, Random(0))
    assert grade(graph, text).share == 1.0


def test_of_a_part_whose_end_is_settled_a_refinement_of_notes_computes_nothing() -> None:
    random = Random(4)
    cited = 0
    for index in range(60):
        found = problem("mid", index)
        graph, drafts = graph_of(found), drafts_of(found, random, 6, rate=0.5)
        counted, values = tally(drafts), graph.values()
        text = refined(graph, read_notes(notes(graph, drafts, longest=10_000)), 6, Random(index))
        if agreed(counted.get(graph.asked, ()), 6):
            continue
        lines = [finding.statement for finding in grade(graph, text).findings]
        for part in graph.parts():
            if settled(counted.get(part[-1].name, ()), 6) == values[part[-1].name]:
                names = {quantity.name for quantity in part}
                stated = [(line.name, line.numbers) for line in lines if line.name in names]
                assert stated in ([], [(part[-1].name, ())])  # none where a settled join is made of it
                cited += len(stated)
    assert cited > 20


def test_counts_that_settle_on_a_wrong_value_mislead() -> None:
    graph = graph_of(problem("mid", 0))
    right = {name: ((value, 4),) for name, value in graph.values().items()}
    contested = right | {graph.asked: ((graph.answer, 2), (graph.answer + 1, 2))}
    operand = next(str(name) for name in graph.joins[-1].operands)
    assert graph.joins[-1].name == graph.asked
    assert not misled(graph, {}, 4)
    assert not misled(graph, right, 4)
    assert not misled(graph, contested, 4)
    assert misled(graph, right | {graph.asked: ((graph.answer + 1, 3),)}, 4)
    assert misled(graph, contested | {operand: ((1_000, 3),)}, 4)
    assert not misled(graph, contested | {operand: ((1_000, 2), (1, 2))}, 4)
