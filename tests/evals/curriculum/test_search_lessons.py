"""Lessons in searching are what HybridSearch does: a perfect player, the same prompts, the same turns."""

from __future__ import annotations

import re
import statistics
from itertools import islice
from random import Random
from typing import Any

import dspy
import pytest

pytest.importorskip("tokenizers")

import reasonflow as rf
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.evals.curriculum.embedded import EMBEDDED
from reasonflow.evals.curriculum.search_lessons import Row, search_rows, searcher
from reasonflow.evals.curriculum.search_pages import pages_about
from reasonflow.evals.curriculum.searching import UNKNOWN, askings, condensed, note_in, reading
from reasonflow.evals.curriculum.vocabulary import END_OF_TURN, SIZE
from reasonflow.evals.tasks.corpus import corpus
from reasonflow.evals.tasks.facts import NAMED, STATED, read_facts
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.evals.tasks.lookups import decomposed, rounds
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.optimizers.trie_sft.data import Reader
from reasonflow.programs.hybrid_search import HybridSearch
from reasonflow.programs.query_blocks import END, RESULTS, THINK_END
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.search_machine import NOTHING
from reasonflow.programs.search_prompts import FINAL
from reasonflow.programs.trajectories import THREADWEAVER
from tests.evals.curriculum.search_player import Player, solved

TOKENIZER = HfTokenizer(ModelFiles("embedded"))
TURNS = 16
"""Five look-ups of three hops one after the other, and the solution."""
SOURCE = parse_source("graphmath:search")
ITEMS = [item(SOURCE, index) for index in range(24)]


@pytest.fixture(scope="module")
def retriever() -> BM25:
    return BM25.build(corpus(SOURCE, problems=len(ITEMS), passages=3_000))


def play(retriever: BM25, *, sequential: bool) -> list[Any]:
    program = HybridSearch("problem -> answer", retriever, shown="own", sequential=sequential, turns=TURNS)
    with dspy.context(lm=rf.scripted(Player(ITEMS, sequential=sequential), window=8192)):
        return [program(problem=each.text) for each in ITEMS]


@pytest.mark.parametrize("sequential", [False, True])
def test_a_player_solves_every_problem_by_searching(retriever: BM25, sequential: bool) -> None:
    for each, out in zip(ITEMS, play(retriever, sequential=sequential), strict=True):
        assert out.answer == str(each.answer)
        assert grade(each.content, out.trajectory).share == 1
        assert out.run.repairs == []
        asked: list[tuple[str, ...]] = [
            tuple(search["query"] for search in out.searches if search["turn"] == number + 1)
            for number in range(out.turns - 1)
        ]
        one_by_one = [(question.query,) for question in decomposed(each.lookups)]
        assert asked == (one_by_one if sequential else list(rounds(each.lookups)))


def test_searching_side_by_side_takes_half_the_turns() -> None:
    found = [item(SOURCE, index).lookups for index in range(300)]
    parallel = statistics.mean(len(rounds(lookups)) + 1 for lookups in found)
    sequential = statistics.mean(len(decomposed(lookups)) + 1 for lookups in found)
    assert 3.4 < parallel < 3.9
    assert 7.2 < sequential < 8.0
    assert parallel / sequential < 0.52
    assert max(len(decomposed(lookups)) for lookups in found) < TURNS


@pytest.mark.parametrize("sequential", [False, True])
def test_contexts_are_what_the_program_sends_token_by_token(
    retriever: BM25, sent: list[tuple[int, ...]], sequential: bool
) -> None:
    outs = play(retriever, sequential=sequential)
    made: list[tuple[int, ...]] = []
    for each, out in zip(ITEMS, outs, strict=True):
        trajectory = searcher(sequential).trajectory(each, solved(each))
        assert trajectory.text == out.trajectory
        made += (unit.context for unit in trajectory.units)
        for asked in trajectory.asked:
            lesson = searcher(sequential).note(asked, retriever.find(asked.query, 5))
            made.append(tuple(lesson["prompt"]))
            assert lesson["units"][0]["context"] == lesson["prompt"]
    assert sorted(made) == sorted(sent)


def test_what_gave_nothing_is_asked_again_in_both_forms() -> None:
    found = next(each for each in ITEMS if len(each.lookups) > 2)
    lost = found.lookups[1].query
    for sequential in (False, True):
        trajectory = searcher(sequential).trajectory(found, solved(found), [lost])
        assert f"\n{lost}: {NOTHING}\n" in trajectory.text
        again = lost.replace(" house", " in house")
        assert [asked.query for asked in trajectory.asked].count(again) == 1
        assert grade(found.content, trajectory.text).share == 1


@pytest.mark.parametrize("sequential", [False, True])
def test_what_is_found_in_no_words_ends_the_search_with_an_unknown_answer(sequential: bool) -> None:
    found = next(each for each in ITEMS if len(each.lookups) > 2)
    words = askings(found.lookups[1].name, found.lookups[1].house)
    trajectory = searcher(sequential).trajectory(found, solved(found), words)
    assert [asked.query for asked in trajectory.asked if asked.query in words] == list(words)
    assert trajectory.text.endswith(f"{found.lookups[1].name} unknown\n{THINK_END}\n{UNKNOWN}")
    assert grade(found.content, trajectory.text).share == 0


def drawn(count: int) -> list[Row]:
    return list(islice(search_rows(0), count))


def test_rows_are_read_as_tries_and_teach_the_models_own_turns_alone() -> None:
    reader = Reader(
        tokenizer=TOKENIZER,
        end=EMBEDDED.stop[:1],
        vocabulary=SIZE,
        dialect=THREADWEAVER,
        longest=8192,
        window=8192,
    )
    rows = drawn(60)
    data = reader.read(rows)
    assert data.dropped == {}
    for row, trie in zip(rows, data.tries, strict=True):
        learned = EMBEDDED.decode(trie.tokens[trie.learned].tolist())
        assert learned == "".join(EMBEDDED.decode(unit["completion"]) for unit in row["units"])
        assert RESULTS not in learned
        assert learned.endswith(END_OF_TURN)
        assert all(EMBEDDED.decode(unit["completion"]).endswith(END) for unit in row["units"][:-1])
        assert len(trie) < 1_600


def test_both_forms_are_taught_alike() -> None:
    rows = drawn(200)
    sequential = [row for row in rows if "one" in kind(row)]
    parallel = [row for row in rows if "several" in kind(row)][: len(sequential)]  # the last problem may be cut
    assert len(parallel) == len(sequential) > 15
    for many, one in zip(parallel, sequential, strict=True):
        assert problem_of(many) == problem_of(one)
        assert solution_of(many) == solution_of(one)
        assert len(many["units"]) <= len(one["units"])
    assert 1 in {len(row["units"]) for row in drawn(800) if "several" in kind(row)}, "some miss nothing"


def test_notes_are_what_the_pages_say() -> None:
    notes = [row for row in drawn(200) if kind(row) == "note"]
    assert len(notes) > 60
    nothing = 0
    for row in notes:
        prompt, answer = EMBEDDED.decode(row["prompt"]), EMBEDDED.decode(row["units"][0]["completion"])
        query = prompt.partition("(what was searched)\n")[2].partition("\n")[0]
        pages = prompt.partition("(what was found)\n")[2].partition("<|im_end|>")[0]
        assert answer == reading(pages, query) + END_OF_TURN
        assert answer.endswith(condensed(note_in(pages, query)) + END_OF_TURN)
        assert 1 <= pages.count("Page ") <= 5
        nothing += answer.endswith(f"{NOTHING}{END_OF_TURN}")
    assert 0.05 < nothing / len(notes) < 0.3


def test_the_fact_stands_on_any_page() -> None:
    found, places = ITEMS[0], dict[int, int]()
    for seed in range(300):
        pages = pages_about(found.lookups, found.lookups[0].query, Random(seed))
        held = [n for n, page in enumerate(pages) if note_in(page.text, found.lookups[0].query) != NOTHING]
        assert len(held) <= 1
        for place in held:
            places[place] = places.get(place, 0) + 1
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert places[0] > 100


def test_pages_hold_items_with_one_of_the_two_words_often_and_either_word() -> None:
    found = ITEMS[0]
    hop = found.lookups[0]
    first, second = hop.name.split()
    firsts = seconds = 0
    for seed in range(200):
        pages = pages_about(found.lookups, hop.query, Random(seed))
        names = {read.name for page in pages for read in read_facts(page.text) if read.house == hop.house}
        firsts += any(name.split()[0] == first for name in names - {hop.name})
        seconds += any(name.split()[1] == second for name in names - {hop.name})
    assert min(firsts, seconds) > 60


def test_equal_seeds_give_equal_rows_and_others_do_not() -> None:
    assert drawn(8) == drawn(8) != list(islice(search_rows(1), 8))


def test_words_are_a_token_each() -> None:
    fixed = [FINAL, NOTHING, UNKNOWN, "Page", "fit", "differ", "in", "of"]
    fixed += (re.sub(r"\{\w+\}", "", form) for form in (*STATED, *NAMED))
    spelled = {EMBEDDED.decode([token]) for between in " \n" for token in TOKENIZER.encode(between.join(fixed))}
    words = {word for lexicon in LEXICONS.values() for word in (*lexicon.firsts, *lexicon.seconds)}
    for row in drawn(40):
        for unit in row["units"]:
            written = {EMBEDDED.decode([token]) for token in unit["completion"]} - spelled
            assert not [piece for piece in written if len(piece) < 3 and piece.isalpha() and piece not in words]


def kind(row: Row) -> str:
    prompt = EMBEDDED.decode(row["prompt"])
    return "note" if "Read the pages" in prompt else "several" if "first query" in prompt else "one"


def problem_of(row: Row) -> str:
    return EMBEDDED.decode(row["prompt"]).partition("<|im_start|>user\n")[2]


def solution_of(row: Row) -> str:
    return EMBEDDED.decode(row["units"][-1]["completion"]).rpartition("</think>\n")[2]
