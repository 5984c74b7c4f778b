"""Systems of constraints: one solution each, which substitution confirms and a search finds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.tasks.constraints import System, draw_system, search, shape_of_system, verification
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import LARGEST
from reasonflow.evals.tasks.knobs import ConstraintKnobs
from reasonflow.evals.tasks.reading import statements
from tests.evals.tasks.random_graphs import seeds


@st.composite
def systems(draw: st.DrawFn) -> System:
    unknowns = draw(st.integers(1, 4))
    return draw_system(ConstraintKnobs(unknowns=(unknowns, unknowns)), Random(draw(seeds)))


@given(systems())
def test_the_solution_satisfies_every_constraint(system: System) -> None:
    assert all(constraint.holds(system.values()) for constraint in system.constraints)
    assert verification(system, system.values()).endswith("\nYes")
    assert all(0 <= value <= LARGEST for value in system.solution)


@given(systems())
def test_no_other_value_does(system: System) -> None:
    # The ties leave one choice for all unknowns but the first: trying each value of that is trying everything.
    solutions = []
    for first in range(LARGEST + 1):
        values = dict(zip(system.unknowns, system.follow(first), strict=True))
        assert all(constraint.holds(values) for constraint in system.constraints[2:-1])
        if all(constraint.holds(values) for constraint in system.constraints):
            solutions.append(values)
    assert solutions == [system.values()]


@given(systems(), st.data())
def test_another_value_of_an_unknown_fails(system: System, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(system.unknowns))
    wrong = {**system.values(), name: data.draw(st.integers(0, LARGEST).filter(lambda v: v != system.values()[name]))}
    assert verification(system, wrong).endswith("\nNo")
    assert " fails\n" in verification(system, wrong)


@given(systems(), seeds)
def test_a_search_from_anywhere_ends_at_the_solution(system: System, seed: int) -> None:
    text = search(system, Random(seed))
    marks = grade(system, text)
    assert (marks.correct, marks.share) == (True, 1.0)
    assert all(finding.fault == "" for finding in marks.findings)
    assert all(0 <= statement.value <= LARGEST for statement in statements(text))


def test_drafts_differ_and_checking_is_shorter_than_solving() -> None:
    solving = checking = 0
    for seed in range(200):
        system = draw_system(ConstraintKnobs(), Random(seed))
        assert len({search(system, Random(order)) for order in range(20)}) > 1
        solving += len(statements(search(system, Random(seed))))
        checking += len(system.constraints)
    assert solving > 2 * checking


@given(systems())
def test_a_slip_in_a_search_is_named(system: System) -> None:
    first, *rest = search(system, Random(0)).split("\n")
    start, _, value = first.rpartition(" = ")
    marks = grade(system, "\n".join([f"{start} = {int(value) + 1}", *rest]))
    assert [f.fault for f in marks.findings].count("arithmetic") == 1
    assert marks.findings[0].fault == "arithmetic"


def test_the_direct_answer_satisfies_nothing_but_is_right() -> None:
    system = draw_system(ConstraintKnobs(), Random(0))
    marks = grade(system, f"\\boxed{{{system.answer}}}")
    assert (marks.correct, marks.right) == (True, ())


def test_the_shape_is_kinds_and_divisors() -> None:
    drawn = [draw_system(ConstraintKnobs(), Random(seed)) for seed in range(2_000)]
    shapes = {shape_of_system(system).hash for system in drawn}
    kinds = {
        tuple(
            (c.kind, system.unknowns.index(c.names[0]), c.numbers[0] if c.kind == "rest" else 0)
            for c in system.constraints
        )
        for system in drawn
    }
    assert len(shapes) == len(kinds) > 100


def test_what_cannot_be_is_refused() -> None:
    system = draw_system(ConstraintKnobs(), Random(0))
    with pytest.raises(InputError, match="has no value"):
        verification(system, {})
    with pytest.raises(InputError, match="no two divisors"):
        ConstraintKnobs(divisors=(6, 6))
    with pytest.raises(InputError, match="no two divisors"):
        ConstraintKnobs(divisors=(6, 12))
