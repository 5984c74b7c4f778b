"""Laws of the flat sequence, on random units that share much."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from reasonflow.optimizers.trie_sft.equivalence import paths
from reasonflow.optimizers.trie_sft.trie import flatten
from reasonflow.optimizers.trie_sft.units import Unit

ids = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
pools = st.lists(st.builds(Unit, ids, ids), min_size=1, max_size=8)


@given(pools)
def test_every_unit_is_a_path_from_a_root(units: list[Unit]) -> None:
    flat = flatten(units)
    for unit, path in zip(units, paths(flat, units), strict=True):
        assert tuple(flat.tokens[path].tolist()) == unit.tokens
        assert flat.depth[path].tolist() == list(range(len(path)))
        assert flat.parent[path].tolist() == [-1, *path[:-1]]


@given(pools)
def test_there_is_a_node_for_every_prefix_and_no_other(units: list[Unit]) -> None:
    flat = flatten(units)
    prefixes = {unit.tokens[:length] for unit in units for length in range(1, len(unit.tokens) + 1)}
    nodes = list(zip(flat.parent.tolist(), flat.tokens.tolist(), strict=True))
    assert len(set(nodes)) == len(nodes) == len(flat) == len(prefixes)
    assert flat.saved == sum(len(unit.tokens) for unit in units) - len(flat)


@given(pools)
def test_times_tell_ancestors(units: list[Unit]) -> None:
    flat = flatten(units)
    for i in range(len(flat)):
        above, node = set(), i
        while node >= 0:
            above.add(node)
            node = int(flat.parent[node])
        assert {j for j in range(len(flat)) if flat.entry[j] <= flat.entry[i] <= flat.exit[j]} == above
        assert flat.depth[i] == len(above) - 1


@given(pools)
def test_what_any_completion_holds_is_learned(units: list[Unit]) -> None:
    flat = flatten(units)
    found = {place for unit, path in zip(units, paths(flat, units), strict=True) for place in path[len(unit.context) :]}
    assert set(flat.learned.nonzero()[0].tolist()) == found


@given(pools)
def test_the_order_is_depth_first_and_children_stand_as_they_came(units: list[Unit]) -> None:
    tree: dict[int, Any] = {}
    for unit in units:
        node = tree
        for token in unit.tokens:
            node = node.setdefault(token, {})

    def preorder(node: dict[int, Any]) -> list[int]:
        return [each for token, below in node.items() for each in (token, *preorder(below))]

    assert flatten(units).tokens.tolist() == preorder(tree)


@given(pools)
def test_only_what_no_other_goes_on_from_counts_as_a_sequence(units: list[Unit]) -> None:
    distinct = sorted({unit.tokens for unit in units})
    longest = [one for one, after in pairwise([*distinct, ()]) if after[: len(one)] != one]
    assert flatten(units).sequences == sum(map(len, longest))


@given(pools)
def test_a_unit_twice_changes_nothing_but_what_is_saved(units: list[Unit]) -> None:
    once, twice = flatten(units), flatten([*units, *units])
    for name in ("tokens", "parent", "depth", "exit", "learned"):
        assert getattr(once, name).tolist() == getattr(twice, name).tolist()
    assert twice.saved == once.saved + once.alone


def test_a_root_is_not_learned() -> None:
    assert flatten([Unit((), (1, 2))]).learned.tolist() == [False, True]


def test_a_later_unit_may_learn_what_the_first_was_told() -> None:
    assert flatten([Unit((1, 2), (3,)), Unit((1,), (2,))]).learned.tolist() == [False, True, True]


def test_a_small_trie_by_hand() -> None:
    flat = flatten([Unit((1,), (2, 3, 4)), Unit((1, 2), (5,)), Unit((1, 2, 3), (4,)), Unit((1, 2, 5), (6,))])
    assert flat.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert flat.parent.tolist() == [-1, 0, 1, 2, 1, 4]
    assert flat.depth.tolist() == [0, 1, 2, 3, 2, 3]
    assert flat.exit.tolist() == [5, 5, 3, 3, 5, 5]
    assert flat.learned.tolist() == [False, True, True, True, True, True]
    assert (flat.alone, flat.saved, flat.sequences) == (15, 9, 8)


def test_time_is_linear_in_the_tokens() -> None:
    long = tuple(range(200_000))
    flat = flatten([Unit(long[:1], long[1:]), *(Unit(long[:-number], (7,)) for number in range(1, 20))])
    assert len(flat) == 200_000 + 19
    assert flat.saved == sum(200_000 - number + 1 for number in range(1, 20)) - 19
