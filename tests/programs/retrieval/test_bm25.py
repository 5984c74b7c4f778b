"""BM25 against the formula itself, on disk as in memory, and whole whatever happens to its builds."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.programs.retrieval import Bounded, Passage, folder, sources
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.words import words

ROWS = [
    {"id": "paris", "title": "Paris", "text": "The capital of France lies on the Seine."},
    {"id": "rome", "title": "Rome", "text": "The capital of Italy; the Tiber flows through it."},
    {"id": "seine", "title": "Seine", "text": "A river. It flows through Paris, through Rouen."},
    {"id": "nothing", "text": "... !"},
]
TEXTS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join), min_size=1, max_size=12).filter(
    lambda texts: any(texts)
)


def ids(found: Sequence[Passage]) -> list[str]:
    return [passage.id for passage in found]


def formula(texts: Sequence[str], query: str, k1: float = 1.2, b: float = 0.75) -> list[float]:
    """Lucene's BM25 of every text, as it is written in a book."""
    documents = [Counter(text.split()) for text in texts]
    mean = sum(document.total() for document in documents) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in query.split():
            holding = sum(word in other for other in documents)
            rarity = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            length = k1 * (1 - b + b * document.total() / mean)
            score += rarity * document[word] / (document[word] + length)
        scores.append(score)
    return scores


@given(texts=TEXTS, query=st.lists(st.sampled_from("abcxyz"), max_size=4).map(" ".join), k=st.integers(1, 14))
@settings(max_examples=40, deadline=None)
def test_results_are_those_of_the_formula_in_the_order_of_their_scores(texts: list[str], query: str, k: int) -> None:
    found = BM25.build([{"id": str(number), "text": text} for number, text in enumerate(texts)]).find(query, k)
    expected = formula(texts, query)
    assert len(found) == min(k, sum(score > 0 for score in expected))
    for passage in found:
        assert passage.score == pytest.approx(expected[int(passage.id)], rel=1e-5)
        assert passage.text == texts[int(passage.id)]
    ranks = [(-passage.score, int(passage.id)) for passage in found]
    assert ranks == sorted(ranks)
    left_out = set(range(len(texts))) - {int(passage.id) for passage in found}
    if len(found) == k:
        assert all(expected[number] <= found[-1].score * (1 + 1e-5) for number in left_out)


@given(texts=TEXTS, query=st.lists(st.sampled_from("abcx"), max_size=4).map(" ".join))
@settings(max_examples=15, deadline=None)
def test_a_saved_index_answers_alike(tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str) -> None:
    rows = [{"text": text} for text in texts]
    place = tmp_path_factory.mktemp("index")
    built = BM25.build(rows, place)
    assert BM25.open(place).find(query, 5) == built.find(query, 5) == BM25.build(rows).find(query, 5)
    assert [passage.text for passage in BM25.open(place)] == texts


def test_titles_count_and_letters_are_told_apart_by_nothing_else() -> None:
    index = BM25.build(ROWS)
    assert ids(index.find("ROME?", 3)) == ["rome"]
    assert ids(index.find("river through-Paris", 2)) == ["seine", "paris"]
    assert index.find("rome", 1)[0] == Passage(**ROWS[1], score=index.find("rome", 1)[0].score)  # type: ignore[arg-type]


def test_words_of_all_languages() -> None:
    assert words("Straße, CAFÉ_2 – Ёлка's 東京タワー") == ["straße", "café_2", "ёлка", "s", "東京タワー"]


@pytest.mark.parametrize("query", ["", "  ", "?!", "unknown", "unknown words only"])
def test_a_query_that_shares_no_word_finds_nothing(query: str) -> None:
    assert BM25.build(ROWS).find(query, 3) == ()


def test_more_than_there_are_are_not_invented() -> None:
    assert len(BM25.build(ROWS).find("the capital river", 100)) == 3


def test_equal_passages_come_in_the_order_of_the_source() -> None:
    index = BM25.build([{"id": str(number), "text": "same words"} for number in range(50)])
    assert ids(index.find("words", 7)) == [str(number) for number in range(7)]


def test_stop_words_count_nowhere() -> None:
    index = BM25.build(ROWS, stopwords=["THE", "of"])
    assert index.find("the of", 3) == ()
    assert ids(index.find("the capital of Italy", 1)) == ["rome"]


def test_settings_change_scores() -> None:
    (plain,), (flat,) = (BM25.build(ROWS, **options).find("Seine river", 1) for options in ({}, {"b": 0, "k1": 0}))
    assert plain.score != flat.score == pytest.approx(sum(math.log(1 + (4 - n + 0.5) / (n + 0.5)) for n in (2, 1)))


def test_it_is_a_retriever_for_several_queries_at_once() -> None:
    index = BM25.build(ROWS)
    queries = ["Rome", "Seine", "Paris"] * 5

    async def all_at_once() -> list[list[str]]:
        searching = Bounded(index, deadline_s=10, longest=100, remembered=0)
        found = await asyncio.gather(*(searching.ask(query, number % 3 + 1) for number, query in enumerate(queries)))
        return [ids(each.passages) for each in found]

    assert asyncio.run(all_at_once()) == [ids(index.find(q, number % 3 + 1)) for number, q in enumerate(queries)]


def test_an_index_that_fits_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    place = tmp_path / "index"
    BM25.of(file, place)

    def data() -> str:
        return str(json.loads((place / "manifest.json").read_text())["data"])

    first = data()
    assert ids(BM25.of(file, place).find("Rome", 1)) == ["rome"]
    assert ids(BM25.of(ROWS, place).find("Rome", 1)) == ["rome"]  # the same passages, kept elsewhere
    assert data() == first
    file.write_text(json.dumps(ROWS[0]))
    assert len(BM25.of(file, place)) == 1
    second = data()
    assert second != first
    BM25.of(file, place, k1=0.9)
    third = data()
    assert third != second
    BM25.of(file, place, k1=0.9, stopwords=["the"])
    fourth = data()
    assert fourth != third
    monkeypatch.setattr(folder, "VERSION", folder.VERSION + 1)
    BM25.of(file, place, k1=0.9, stopwords=["the"])
    assert data() != fourth
    assert [path.name for path in place.glob(".reasonflow-index-*")] == [data()]


def test_what_is_open_stays_when_its_index_is_replaced(tmp_path: Path) -> None:
    before = BM25.build(ROWS, tmp_path)
    BM25.build([{"text": "else"}], tmp_path)
    assert ids(before.find("Rome", 1)) == ["rome"]
    assert BM25.open(tmp_path).find("Rome", 1) == ()


def test_a_build_that_fails_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    BM25.build(ROWS, tmp_path)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="row 2"):
        BM25.build([{"text": "x"}, {}], tmp_path)
    assert sorted(tmp_path.rglob("*")) == files
    assert ids(BM25.open(tmp_path).find("Rome", 1)) == ["rome"]


KILLED = """
import os, signal, sys
from reasonflow.programs.retrieval.bm25 import BM25

def rows():
    for number in range(100):
        yield {"text": f"word {number}"}
    os.kill(os.getpid(), signal.SIGKILL)

BM25.build(rows(), sys.argv[1])
"""


def test_a_build_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    fresh, older = tmp_path / "fresh", tmp_path / "older"
    BM25.build(ROWS, older)
    for place in (fresh, older):
        done = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(InputError, match="there is no index"):
        BM25.open(fresh)
    assert ids(BM25.open(older).find("Rome", 1)) == ["rome"]
    for place in (fresh, older):
        BM25.of([{"text": "new"}], place)
        assert len(list(place.glob(".reasonflow-index-*"))) == 1


def test_two_who_want_the_same_build_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    make = folder._build

    def counted(*given: Any) -> None:
        built.append("once")
        make(*given)

    monkeypatch.setattr(folder, "_build", counted)
    threads = [threading.Thread(target=BM25.of, args=(ROWS, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert built == ["once"]


def test_nothing_of_a_temporary_index_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ids(BM25.build(ROWS).find("Rome", 1)) == ["rome"]
    assert list(tmp_path.iterdir()) == []


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "data-2024").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    BM25.build(ROWS, tmp_path)
    assert (tmp_path / "data-2024").is_dir()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def _truncate(name: str, place: Path) -> None:
    (file,) = place.glob(f".reasonflow-index-*/{name}")
    os.truncate(file, file.stat().st_size // 2)


def _remove(name: str, place: Path) -> None:
    (file,) = place.glob(f".reasonflow-index-*/{name}")
    file.unlink()


@pytest.mark.parametrize("harm", [_truncate, _remove])
@pytest.mark.parametrize(
    "name", ["passages.jsonl", "offsets.npy", "data.csc.index.npy", "vocab.index.json", "params.index.json"]
)
def test_an_index_that_lost_something_is_not_opened(tmp_path: Path, harm: Any, name: str) -> None:
    BM25.build(ROWS, tmp_path)
    harm(name, tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        BM25.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"kind": "dense"}, "of the kind dense"),
        ({"version": 99}, "of version 99"),
        ({"count": 5}, "cannot be read"),
        ({"unknown": 1}, "there is no index"),
    ],
)
def test_a_manifest_of_something_else_is_not_opened(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    BM25.build(ROWS, tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(InputError, match=what):
        BM25.open(tmp_path)


def test_an_index_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    BM25.build(ROWS, tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("bm25", "dense"))
    for build in (BM25.build, BM25.of):
        with pytest.raises(InputError, match="of the kind dense"):
            build(ROWS, tmp_path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"k1": -1}, "k1=-1"),
        ({"k1": math.nan}, "k1=nan"),
        ({"b": 1.5}, "b=1.5"),
        ({"stopwords": "the"}, "one text"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        BM25.build(ROWS, **options)


def test_passages_without_a_word_make_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no passage has a word"):
        BM25.build([{"text": "?"}], tmp_path)


def test_texts_that_no_file_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="the passage 'a' cannot be written"):
        BM25.build([{"id": "a", "text": "\ud800"}])


def test_places_that_no_index_can_be_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no index can be built"):
        BM25.build(ROWS, tmp_path / "file")
    with pytest.raises(InputError, match="there is no index"):
        BM25.open(tmp_path / "missing")


def test_an_iterator_can_be_built_but_not_compared(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, str]]:
        yield from ROWS

    assert len(BM25.build(rows(), tmp_path)) == len(ROWS)
    with pytest.raises(InputError, match="once only"):
        BM25.of(rows(), tmp_path)


def test_no_passages_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(InputError, match="0 passages"):
        BM25.build(ROWS).find("Rome", 0)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    BM25.build(ROWS, tmp_path)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    for use in (lambda: BM25.build(ROWS), lambda: BM25.open(tmp_path)):
        with pytest.raises(InputError, match="bm25s") as raised:
            use()
        assert "reasonflow[search]" in raised.value.fix


def test_a_digest_is_of_what_was_indexed(tmp_path: Path) -> None:
    BM25.build(iter(ROWS), tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["source"] == sources.digest(ROWS)


def test_jax_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("print('started')")
    (tmp_path / "jax" / "lax.py").write_text("def top_k(scores, k): ...")
    of = f"BM25.of([{{'text': 'a mill'}}, {{'text': 'a river'}}], {str(tmp_path / 'index')!r})"
    script = f"from reasonflow.programs.retrieval import BM25; {of}; import jax"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
