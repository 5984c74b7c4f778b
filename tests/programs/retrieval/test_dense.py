"""Dense retrieval with tiny stand-ins for an embedding model."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.programs.retrieval import Bounded, dense
from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.dense import Dense

ROWS = [{"id": "a", "title": "aaa", "text": "aa"}, {"id": "b", "text": "bbb"}, {"id": "ab", "text": "aabb"}]
LETTERS = "abcd"


def embed(texts: Sequence[str]) -> Any:
    """How often each letter occurs."""
    return np.array([[text.count(letter) for letter in LETTERS] for text in texts], dtype=np.float64)


def test_the_highest_products_come_first_and_titles_count() -> None:
    found = Dense.build(ROWS, embed=embed).find("ab", 2)
    assert [(passage.id, passage.score, passage.text) for passage in found] == [("a", 5, "aa"), ("ab", 4, "aabb")]


@given(
    texts=st.lists(st.text(LETTERS, max_size=5), min_size=1, max_size=12),
    query=st.text(LETTERS, min_size=1, max_size=4),
    k=st.integers(1, 14),
    block=st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_search_is_exact_in_blocks_of_any_size(texts: list[str], query: str, k: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dense, "_BLOCK", block)
        patched.setattr(dense, "_TOGETHER", block)
        rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
        found = Dense.build(rows, embed=embed).find(query, k)
    products = embed(texts) @ embed([query])[0]
    best = sorted(range(len(texts)), key=lambda number: (-products[number], number))[:k]
    assert [(int(passage.id), passage.score) for passage in found] == [(n, products[n]) for n in best]


def test_a_saved_index_answers_alike(tmp_path: Path) -> None:
    built = Dense.build(ROWS, tmp_path, embed=embed)
    again = Dense.open(tmp_path, embed=embed)
    assert again.find("abb", 3) == built.find("abb", 3)
    assert list(again) == list(built)
    assert len(again) == 3
    with pytest.raises(InputError, match="built with a function"):
        Dense.open(tmp_path)


def test_it_is_a_retriever() -> None:
    async def searched() -> list[str]:
        found = await Bounded(Dense.build(ROWS, embed=embed), deadline_s=10, longest=9).ask("b", 1)
        return [passage.id for passage in found.passages]

    assert asyncio.run(searched()) == ["b"]


def test_a_blank_query_finds_nothing() -> None:
    assert Dense.build(ROWS, embed=embed).find(" \n", 3) == ()


def test_an_index_of_this_source_and_model_is_not_built_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> Any:
        calls.append(len(texts))
        return embed(texts)

    for rows, model in ((ROWS, "one"), (list(ROWS), "one"), (ROWS[:2], "one"), (ROWS[:2], "two")):
        Dense.of(rows, tmp_path, embed=counted, model=model)
    assert calls == [3, 2, 2]
    assert json.loads((tmp_path / "manifest.json").read_text())["settings"] == {"model": "two", "revision": ""}


def test_an_index_of_words_is_another_kind(tmp_path: Path) -> None:
    BM25.build(ROWS, tmp_path)
    for use in (lambda: Dense.open(tmp_path, embed=embed), lambda: Dense.build(ROWS, tmp_path, embed=embed)):
        with pytest.raises(InputError, match="of the kind bm25"):
            use()


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (lambda texts: None, "of the shape"),
        (lambda texts: ["x"] * len(texts), "that is no array"),
        (lambda texts: [1.0] * len(texts), r"of the shape \(3,\)"),
        (lambda texts: [[1.0]], r"of the shape \(1, 1\) for 3 texts"),
        (lambda texts: np.zeros((len(texts), 0)), r"of the shape \(3, 0\)"),
        (lambda texts: [[float("nan")]] * len(texts), "not finite"),
    ],
)
def test_vectors_that_are_none_are_refused(bad: Callable[[Sequence[str]], Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        Dense.build(ROWS, embed=bad)


def test_a_query_of_another_length_is_refused(tmp_path: Path) -> None:
    Dense.build(ROWS, tmp_path, embed=embed)
    index = Dense.open(tmp_path, embed=lambda texts: np.ones((len(texts), 3)))
    with pytest.raises(InputError, match=r"should be \(1, 4\)|of the shape \(1, 3\)"):
        index.find("a", 1)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "nothing makes vectors"),
        ({"embed": "a name"}, "embed is a str"),
        ({"embed": embed, "revision": "main"}, "has no revision"),
    ],
)
def test_what_makes_no_vectors_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        Dense.build(ROWS, **options)


def test_no_passages_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(InputError, match="0 passages"):
        Dense.build(ROWS, embed=embed).find("a", 0)


def test_an_index_without_its_vectors_is_not_opened(tmp_path: Path) -> None:
    Dense.build(ROWS, tmp_path, embed=embed)
    (file,) = tmp_path.glob(".reasonflow-index-*/vectors.npy")
    np.save(file, np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(InputError, match="do not hold the 3 passages"):
        Dense.open(tmp_path, embed=embed)
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        Dense.open(tmp_path, embed=embed)


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A package sentence_transformers of one model; the models and revisions that it is asked for."""
    asked: list[tuple[str, str | None]] = []

    class SentenceTransformer:
        def __init__(self, name: str, revision: str | None = None) -> None:
            asked.append((name, revision))
            if name == "missing":
                raise OSError("missing is not a local folder")

        def __getitem__(self, module: int) -> Any:
            return SimpleNamespace(auto_model=SimpleNamespace(config=SimpleNamespace(_commit_hash="c0ffee")))

        def encode_document(self, texts: list[str], *, normalize_embeddings: bool, show_progress_bar: bool) -> Any:
            found = embed(texts) + 1e-9
            return found / np.linalg.norm(found, axis=1, keepdims=normalize_embeddings)

        def encode_query(self, texts: list[str], **options: Any) -> Any:
            return self.encode_document([text.removeprefix("query: ") for text in texts], **options)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return asked


def test_a_model_is_remembered_with_the_commit_that_was_loaded(
    tmp_path: Path, asked_for: list[tuple[str, str | None]]
) -> None:
    built = Dense.build(ROWS, tmp_path, model="small", revision="main")
    assert [passage.id for passage in built.find("query: b", 3)] == ["b", "ab", "a"]
    assert Dense.open(tmp_path).find("b", 3) == built.find("b", 3)
    assert asked_for == [("small", "main"), ("small", "c0ffee")]


def test_a_model_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, asked_for: list[tuple[str, str | None]]) -> None:
    with pytest.raises(InputError, match="'missing' cannot be loaded"):
        Dense.build(ROWS, model="missing")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="needs the package sentence-transformers") as raised:
        Dense.build(ROWS, model="small")
    assert "reasonflow[dense]" in raised.value.fix
