"""Anything that finds texts is a retriever; anything else, and any other result, is refused with what came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dspy
import numpy as np
import pytest

from reasonflow.errors import InputError
from reasonflow.programs.retrieval import Passage, as_retriever

TEXTS = ("one", "two", "three")


def search(thing: object, query: str = "q", k: int = 2) -> Sequence[Passage]:
    return asyncio.run(as_retriever(thing).search(query, k))


def texts(thing: object, query: str = "q", k: int = 2) -> list[str]:
    return [passage.text for passage in search(thing, query, k)]


class Own:
    async def search(self, query: str, k: int) -> Sequence[Passage]:
        return [Passage(id=query, text=str(k))]


class Called:
    def __call__(self, query: str, k: int) -> list[str]:
        return [query, str(k), "cut"]


class Module(dspy.Module):
    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(passages=[question, *TEXTS])


async def asynchronous(query: str, k: int) -> list[str]:
    await asyncio.sleep(0)
    return [query, str(k)]


def with_defaults(query: str, lang: str = "en", *, k: int = 10) -> list[str]:
    return [query, lang, str(k)][:k]


def other_name(query: str, top: int) -> list[str]:
    return [query, str(top)]


def nothing_asked() -> list[str]:
    return []


def whatever(*given: Any) -> list[str]:
    return [str(each) for each in given]


def test_a_retriever_stays_as_it_is() -> None:
    own = Own()
    assert as_retriever(own) is own


@pytest.mark.parametrize(
    ("thing", "found"),
    [
        (lambda query: [query, *TEXTS], ["q", "one"]),
        (Called(), ["q", "2"]),
        (Called().__call__, ["q", "2"]),
        (partial(other_name, top=1), ["q", "1"]),
        (Module(), ["q", "one"]),
        (asynchronous, ["q", "2"]),
        (with_defaults, ["q", "en"]),
        (other_name, ["q", "2"]),
        (whatever, ["q", "2"]),
        (dspy.Tool(with_defaults), ["q", "en"]),
        (dspy.Tool(asynchronous), ["q", "2"]),
        (dspy.Tool(lambda query: [query]), ["q"]),
    ],
)
def test_functions_and_tools_are_called_as_they_want(thing: object, found: list[str]) -> None:
    assert texts(thing) == found


def test_the_retriever_that_dspy_is_configured_with() -> None:
    def configured(query: str, k: int) -> list[Any]:
        return [dspy.dsp.utils.dotdict({"long_text": f"{query} {number}"}) for number in range(k)]

    with dspy.context(rm=configured):
        assert texts(dspy.Retrieve(k=7)) == ["q 0", "q 1"]


def test_a_retriever_of_dspy_that_takes_no_number_and_has_words_of_its_own() -> None:
    class Documents(dspy.Retrieve):
        def forward(self, query: str, query_type: str = "ANN") -> dspy.Prediction:
            return dspy.Prediction(docs=[query, query_type, "cut"], doc_ids=["x", "y", "z"], doc_uris=None)

    assert search(Documents()) == (Passage(id="x", text="q"), Passage(id="y", text="ANN"))


def test_passages_with_lists_beside_them() -> None:
    found = dspy.dsp.utils.dotdict(passages=["one", "two"], pid=[4, 5], score=[2.5, 1.5], rank=[1])
    assert search(lambda query: found) == (
        Passage(id="4", text="one", score=2.5), Passage(id="5", text="two", score=1.5),
    )  # fmt: skip


def test_the_answers_of_a_colbert_server(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"text": "Paris | is a city", "pid": 7, "rank": 1, "score": 21.5, "prob": 0.9}
    asked: list[Any] = []

    def request(url: str, query: str, k: int) -> list[dict[str, Any]]:
        asked.append((query, k))
        return [{**row, "long_text": row["text"]}]

    monkeypatch.setattr("dspy.dsp.colbertv2.colbertv2_get_request", request)
    assert search(dspy.ColBERTv2("http://nowhere")) == (Passage(id="7", text="Paris | is a city", score=21.5),)
    assert asked == [("q", 2)]


def test_the_embeddings_of_dspy_with_their_scores_and_places() -> None:
    def embed(given: list[str]) -> Any:
        return np.array([[len(each), 1.0] for each in given])

    found = search(dspy.retrievers.EmbeddingsWithScores(["a", "bbbb", "cc"], embed, k=3), "dddd", 2)
    assert [(passage.id, passage.text) for passage in found] == [("1", "bbbb"), ("2", "cc")]
    assert found[0].score == pytest.approx(1)
    assert texts(dspy.Embeddings(["a", "bbbb"], embed), "dddd", 1) == ["bbbb"]


@pytest.mark.parametrize(
    ("row", "passage"),
    [
        ({"text": "x", "title": "T", "id": 3, "score": "0.5"}, Passage(id="3", title="T", text="x", score=0.5)),
        ({"long_text": "x", "text": "y", "pid": "p"}, Passage(id="p", text="x")),
        ({"content": "x", "id": 0, "score": np.float32(2)}, Passage(id="0", text="x", score=2.0)),
        (Passage(id="a", text="x", score=1.0), Passage(id="a", text="x", score=1.0)),
    ],
)
def test_rows_of_every_form(row: object, passage: Passage) -> None:
    assert search(lambda query: [row]) == (passage,)
    assert search(lambda query: {"passages": [row]}) == (passage,)
    assert search(lambda query: (each for each in [row])) == (passage,)


def test_equal_texts_without_ids_have_one_id_and_others_another() -> None:
    first, again, other = search(lambda query: ["x", {"text": "x"}, {"text": "x", "title": "T"}], k=3)
    assert first.id == again.id != other.id


def test_one_text_is_one_passage() -> None:
    assert texts(lambda query: "a whole page") == ["a whole page"]


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (None, "the NoneType None"),
        (7, "the int 7"),
        (b"bytes", "a bytes of 5"),
        ([None], "passage 1 is the NoneType None"),
        (["x", 3], "passage 2 is the int 3"),
        ([{"title": "T"}], "passage 1 has no text"),
        ([{"text": None}], "passage 1 has no text"),
        (["x", " "], "passage 2 is empty"),
        ("", "passage 1 is empty"),
        ([{"text": "x", "score": "high"}], "passage 1 has the score"),
        (dspy.Prediction(answer="x"), "without a list 'passages'"),
        (dspy.Prediction(passages="x"), "without a list 'passages'"),
        (dspy.Prediction(passages=None), "without a list 'passages'"),
        ({"results": []}, "without a list 'passages'"),
    ],
)
def test_another_result_is_an_error_that_names_it(returned: object, what: str) -> None:
    with pytest.raises(InputError) as raised:
        search(lambda query: returned)
    assert what in raised.value.what


@pytest.mark.parametrize("returned", [[], (), dspy.Prediction(passages=[])])
def test_nothing_found_is_no_error(returned: object) -> None:
    assert search(lambda query: returned) == ()


@pytest.mark.parametrize(
    ("thing", "what"),
    [
        ("a text", "a str is no retriever"),
        (None, "a NoneType is no retriever"),
        (Own, "the class Own is no retriever"),
        (nothing_asked, "cannot be asked"),
        (lambda query, k, language: [], "cannot be asked"),
        (lambda *, query: [], "cannot be asked"),
        (lambda query, *, language: [], "cannot be asked"),
        (min, "cannot be asked"),
        (dspy.Tool(nothing_asked), "cannot be asked"),
        (dspy.Tool(lambda query, language: []), "cannot be asked"),
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(thing: object, what: str) -> None:
    with pytest.raises(InputError, match=what) as raised:
        as_retriever(thing)
    assert raised.value.fix


@pytest.mark.parametrize("wrapped", [lambda function: function, dspy.Tool])
def test_functions_that_block_run_side_by_side(wrapped: Callable[[Any], object]) -> None:
    together = threading.Barrier(3)

    def blocking(query: str) -> list[str]:
        together.wait(timeout=10)  # raises unless three are inside at once
        return [query]

    async def three() -> list[Sequence[Passage]]:
        retriever = as_retriever(wrapped(blocking))
        return await asyncio.gather(*(retriever.search(str(number), 1) for number in range(3)))

    assert [found[0].text for found in asyncio.run(three())] == ["0", "1", "2"]
