"""The corpus: every fact is in it and is found, nothing in it contradicts anything, most of it only looks alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from reasonflow.errors import InputError
from reasonflow.evals.tasks.corpus import cli, corpus, facts_of, look_alike, main, one_word
from reasonflow.evals.tasks.facts import Fact, read_facts, sentence
from reasonflow.evals.tasks.lookups import Lookup, held_in
from reasonflow.evals.tasks.problems import parse_source
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.passages import Passage

TEST = parse_source("graphmath:search")


@pytest.fixture(scope="module")
def made() -> list[Passage]:
    return corpus(TEST, problems=100, passages=8_000)


def gives(fact: Lookup) -> int | tuple[str, int]:
    return fact.value if fact.next is None else (fact.next.name, fact.next.house)


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_sentence_is_read_as_it_was_meant(seed: int, house: int) -> None:
    for fact in (Lookup("red cups", house, 38), Lookup("red cups", house, 38, Lookup("ba bor", 4821, 38))):
        read = list(read_facts(f"There are 3 pans. {sentence(fact, Random(seed))} Of 7 it says nothing."))
        assert read == [Fact("red cups", house, gives(fact))]


def test_gold_queries_find_their_facts_among_the_first_five(made: list[Passage]) -> None:
    search, missed = BM25.build(made), []
    for fact in facts_of(TEST, 100).values():
        read = {each for passage in search.find(fact.query, 5) for each in read_facts(passage.text)}
        if Fact(fact.name, fact.house, gives(fact)) not in read:
            missed.append(fact.query)
    assert len(missed) <= 0.01 * len(facts_of(TEST, 100)), missed


@pytest.mark.parametrize("name", ["graphmath:search,seed=3", "graphmath:search,split=train,lexicon=harbour"])
def test_no_two_facts_contradict_each_other(made: list[Passage], name: str) -> None:
    other = corpus(parse_source(name), problems=20, passages=1_000)
    for passage in (*made, *other):
        read = list(read_facts(passage.text))
        assert 1 <= len(read) == passage.text.count(".") <= 3
        for name, house, gives in read:
            assert passage.title == f"house {house}"
            told = gives if isinstance(gives, int) else held_in(gives[1], gives[0])
            assert told == held_in(house, name), "both follow from the house and the item, in every corpus"


def test_a_fact_is_said_once_and_as_the_problem_needs_it(made: list[Passage]) -> None:
    said: dict[tuple[str, int], list[Any]] = {}
    for passage in made:
        for name, house, told in read_facts(passage.text):
            said.setdefault((name, house), []).append(told)
    for place, fact in facts_of(TEST, 100).items():
        assert said[place] == [gives(fact)], "a number that is to be looked up further on stands nowhere before"


def test_look_alikes_are_of_every_kind() -> None:
    fact = Lookup("red cups", 4821, held_in(4821, "red cups"))
    kinds: Counter[str] = Counter()
    for seed in range(400):
        title, text = look_alike(fact, {("red cups", 4821)}, Random(seed))
        house = int(title.removeprefix("house "))
        names = {read.name for read in read_facts(text)}
        apart = sum(one != other for one, other in zip(str(house), "4821", strict=False)) + 4 * (len(str(house)) != 4)
        if "red cups" in names:
            assert house != 4821
            kinds["a digit" if apart == 1 else "another house"] += 1
        else:
            assert house == 4821
            alike = any(len(set(name.split()) & {"red", "cups"}) == 1 for name in names)
            kinds["a word" if alike else "another item"] += 1
    assert min(kinds[kind] for kind in ("a digit", "another house", "a word", "another item")) > 60


def test_a_look_alike_can_be_of_a_kind_that_is_named() -> None:
    fact = Lookup("red cups", 4821, held_in(4821, "red cups"))
    firsts = 0
    for seed in range(100):
        name, house = one_word(fact, Random(seed))
        firsts += name.startswith("red ")
        assert house == 4821
        title, text = look_alike(fact, {("red cups", 4821)}, Random(seed), (one_word,))
        assert title == "house 4821"
        assert any(len(set(read.name.split()) & {"red", "cups"}) == 1 for read in read_facts(text))
    assert 30 < firsts < 70


def test_equal_arguments_give_equal_passages_and_other_seeds_do_not() -> None:
    small = corpus(TEST, problems=3, passages=100)
    assert small == corpus(TEST, problems=3, passages=100)
    assert small != corpus(parse_source("graphmath:search,seed=1"), problems=3, passages=100)
    assert len({passage.id for passage in small}) == len(small) == 100


def test_the_command_writes_what_an_index_reads(tmp_path: Path) -> None:
    app: Any = typer.Typer()
    app.command()(main)
    file = tmp_path / "new" / "corpus.jsonl"
    words = ["--out", str(file), "--problems", "3", "--passages", "100", "--split", "train", "--mix", "search,hops=2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    source = parse_source("graphmath:search,hops=2,split=train")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [Passage(**row) for row in rows] == corpus(source, problems=3, passages=100)


def test_what_makes_no_corpus_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="leaves nothing out"):
        corpus(parse_source("graphmath:mid"), problems=3, passages=100)
    monkeypatch.setattr("sys.argv", ["corpus", "--out", "none", "--problems", "9", "--passages", "5"])
    with pytest.raises(SystemExit) as caught:
        cli()
    assert caught.value.code == 2
    assert "do not hold the facts of 9 problems" in capsys.readouterr().err
