"""Missing numbers: what the text says of them, and the chains of houses that lead to them."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reasonflow.evals.tasks.graph import LARGEST, Graph, check
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.evals.tasks.lookups import Lookup, decomposed, held_in, house_with, rounds
from reasonflow.evals.tasks.problems import item, parse_source

CHAINED = Lookup("red cups", 4821, 386, Lookup("silver dolls", 50917, 386, Lookup("old pies", 1234, 386)))
PLAIN = Lookup("thin forks", 770123, 41)


@given(st.integers(0, 10_000), st.sampled_from(("train", "test")))
def test_what_is_missing_stands_in_the_houses_that_the_text_names(index: int, split: str) -> None:
    found = item(parse_source(f"graphmath:search,split={split}"), index)
    assert isinstance(found.content, Graph)
    graph = check(found.content)
    given = {quantity.name for quantity in graph.needed if not quantity.sign}
    hops = [hop for lookup in found.lookups for hop in lookup.hops()]
    assert min(2, len(given)) <= len(found.lookups) <= 5
    assert {lookup.name for lookup in found.lookups} <= given
    assert all(1 <= sum(1 for _ in lookup.hops()) <= 3 for lookup in found.lookups)
    assert all(hop.value == graph.values()[lookup.name] for lookup in found.lookups for hop in lookup.hops())
    assert all(held_in(hop.house, hop.name) == hop.value for hop in hops)
    assert len({hop.house for hop in hops}) == len({hop.name for hop in hops}) == len(hops)
    assert all(4 <= len(str(hop.house)) <= 6 for hop in hops)
    assert not {hop.name for lookup in found.lookups for hop in list(lookup.hops())[1:]} & set(graph.values())
    sentences = [sentence for sentence in found.text.split(".") if "house" in sentence]
    assert len(sentences) == len(found.lookups)
    for sentence, lookup in zip(sentences, found.lookups, strict=True):  # in the order of the text
        assert lookup.name in sentence
        assert f"house {lookup.house}" in sentence
        assert str(lookup.value) not in sentence.replace(str(lookup.house), "")


def test_knobs_say_how_much_is_missing_and_how_far_it_is() -> None:
    every = item(parse_source("graphmath:mid,missing=20,hops=2"), 0)
    assert isinstance(every.content, Graph)
    assert len(every.lookups) == sum(not quantity.sign for quantity in every.content.needed)
    assert all(len(list(lookup.hops())) == 2 for lookup in every.lookups)
    assert item(parse_source("graphmath:search,missing=0"), 0).lookups == ()


def test_every_house_has_as_many_of_an_item_whoever_asks() -> None:
    for value in (0, 7, LARGEST):
        house = house_with("red cups", value, Random(value))
        assert held_in(house, "red cups") == value
        assert house_with("red cups", value, Random(value), {house}) != house
    held = {held_in(house, name) for house in range(1000, 1100) for name in LEXICONS["market"].names[:100]}
    assert held == set(range(LARGEST + 1))


def test_a_decomposition_is_chain_by_chain() -> None:
    assert [(each.query, each.needs) for each in decomposed((CHAINED, PLAIN))] == [
        ("red cups house 4821", ()),
        ("silver dolls house 50917", (0,)),
        ("old pies house 1234", (1,)),
        ("thin forks house 770123", ()),
    ]


def test_rounds_ask_what_can_be_asked() -> None:
    assert rounds((CHAINED, PLAIN)) == (
        ("red cups house 4821", "thin forks house 770123"),
        ("silver dolls house 50917",),
        ("old pies house 1234",),
    )
    assert rounds(()) == ()
