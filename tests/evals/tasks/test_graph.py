"""Graphs: what knobs promise holds for every one, and the hash sees the shape and nothing else."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.tasks.chance import shuffle
from reasonflow.evals.tasks.graph import LARGEST, Graph, Quantity, apply, check
from reasonflow.evals.tasks.grow import grow
from reasonflow.evals.tasks.knobs import Knobs
from reasonflow.evals.tasks.shape import hash_of, shape_of
from reasonflow.evals.tasks.solutions import in_order
from tests.evals.tasks.random_graphs import knobs, seeds


@given(knobs(), seeds)
def test_every_graph_is_as_its_knobs_say(knobs: Knobs, seed: int) -> None:
    graph = check(grow(knobs, Random(seed)))
    shape = shape_of(graph)
    distractors = len(graph.quantities) - len(graph.needed)
    assert knobs.width[0] <= shape.width == len(graph.parts()) <= knobs.width[1]
    assert shape.depth <= knobs.depth[1]
    assert knobs.distractors[0] <= distractors <= knobs.distractors[1]
    assert all(0 <= quantity.value <= knobs.largest for quantity in graph.quantities)
    assert len(graph.joins) == shape.width - 1


@given(st.integers(2, 7), seeds)
def test_the_depth_is_that_of_the_longest_chain(depth: int, seed: int) -> None:
    graph = grow(Knobs(depth=(depth, depth), branching=0, sharing=0), Random(seed))
    assert {len(part) for part in graph.parts()} == {shape_of(graph).depth} == {depth}


@given(knobs(), seeds)
def test_names_numbers_order_and_distractors_do_not_change_the_shape(knobs: Knobs, seed: int) -> None:
    graph = grow(knobs, Random(seed))
    new = {quantity.name: f"name {place}" for place, quantity in enumerate(graph.quantities)}
    other = Graph(
        tuple(
            quantity._replace(
                name=new[quantity.name],
                operands=tuple(new.get(operand, 7) for operand in quantity.operands),  # type: ignore[call-overload]
                value=0,
            )
            for quantity in in_order(graph.needed, Random(seed + 1))
        ),
        new[graph.asked],
    )
    assert shape_of(other) == shape_of(graph)


@given(seeds)
def test_the_operands_of_a_sum_have_no_order_in_the_shape_and_those_of_a_difference_have_one(seed: int) -> None:
    graph = grow(Knobs(width=(2, 2), depth=(2, 4)), Random(seed))
    last = next(quantity for quantity in graph.quantities if quantity.name == graph.asked)
    turned = replace(
        graph,
        quantities=tuple(
            quantity._replace(operands=quantity.operands[::-1]) if quantity is last else quantity
            for quantity in graph.quantities
        ),
    )
    left, right = (hash_of(replace(graph, asked=str(operand))) for operand in last.operands)
    assert (hash_of(turned) == hash_of(graph)) == (last.sign == "+" or left == right)


def test_another_sign_or_another_number_of_parts_is_another_shape() -> None:
    graphs = [grow(Knobs(width=(1, 6), depth=(2, 6)), Random(seed)) for seed in range(300)]
    hashes = {hash_of(graph) for graph in graphs}
    assert len(hashes) > 250


def test_two_quantities_and_one_used_twice_count_the_same() -> None:
    # The one coarseness of the hash.
    once = (Quantity("a a", "", (3,), 3, 0), Quantity("c c", "+", ("a a", "a a"), 6, 0))
    twice = (
        Quantity("a a", "", (3,), 3, 0),
        Quantity("b b", "", (3,), 3, 0),
        Quantity("c c", "+", ("a a", "b b"), 6, 0),
    )
    assert hash_of(Graph(once, "c c")) == hash_of(Graph(twice, "c c"))


@pytest.mark.parametrize(
    ("quantity", "says"),
    [
        (Quantity("b b", "+", ("a a", 2), 6, 0), "is 5, not 6"),
        (Quantity("b b", "+", ("c c", 2), 6, 0), "not stated before"),
        (Quantity("a a", "", (2,), 2, 0), "stands twice"),
        (Quantity("b b", "-", ("a a", 5), -2, 0), "outside of 0 to 999"),
        (Quantity("b b", "*", ("a a", 12), 36, 0), "one digit"),
        (Quantity("b b", "/", ("a a", 2), 1, 0), "is None, not 1"),
        (Quantity("b b", "+", ("a a", 2), 5, 1), "another part"),
        (Quantity("b b", "+", ("a a",), 3, 0), "1 operands"),
        (Quantity("b b", "+", ("a a", 2), 5, 0, needed=False), "marked as needed"),
    ],
)
def test_a_graph_that_breaks_a_promise_is_refused(quantity: Quantity, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check(Graph((Quantity("a a", "", (3,), 3, 0), quantity), quantity.name))


def test_arithmetic_has_whole_results_only() -> None:
    assert [apply(sign, 12, 5) for sign in "+-*/%"] == [17, 7, 60, None, 2]
    assert apply("/", 12, 4) == 3
    assert apply("/", 12, 0) is apply("%", 12, 0) is apply("^", 2, 3) is None


@given(st.lists(st.integers(), max_size=12), seeds)
def test_a_shuffled_list_has_the_same_items(items: list[int], seed: int) -> None:
    shuffled = list(items)
    shuffle(Random(seed), shuffled)
    assert sorted(shuffled) == sorted(items)


def test_answers_are_spread_over_all_values() -> None:
    answers = [grow(Knobs(width=(4, 8)), Random(seed)).answer for seed in range(3_000)]
    assert len(set(answers)) > 900
    assert max(answers.count(answer) for answer in set(answers)) < 0.01 * len(answers)
    assert min(answers) < 10
    assert max(answers) > LARGEST - 10
