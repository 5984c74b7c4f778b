"""The vocabulary: whole words, single digits and markers, bytes for everything else, ids kept free."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers")

from reasonflow.backends.embedded import folder_of  # noqa: E402
from reasonflow.errors import InputError  # noqa: E402
from reasonflow.evals.curriculum.roles import every_prompt  # noqa: E402
from reasonflow.evals.curriculum.tokenizer import write_tokenizer  # noqa: E402
from reasonflow.evals.curriculum.vocabulary import CONTROLS, MARKERS, SIZE, SPARE  # noqa: E402
from reasonflow.evals.tasks.corpus import corpus  # noqa: E402
from reasonflow.evals.tasks.knobs import MIXES  # noqa: E402
from reasonflow.evals.tasks.lexicon import LEXICONS  # noqa: E402
from reasonflow.evals.tasks.problems import item, parse_source  # noqa: E402

FROZEN = "158cac6c3cc313e7df8df91cf8c862e5a47a83bcc2d57ee31cf86afb2669143a"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, sorted(set(every_prompt())))
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("model", ["embedded", "embedded-draft"])
def test_the_built_in_tokenizer_is_frozen(model: str) -> None:
    # With other ids the weights mean nothing, and every recorded prompt is another one.
    file = folder_of(model) / "tokenizer.json"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == FROZEN


def test_what_is_written_is_what_was_frozen(tmp_path: Path) -> None:
    # Sentences and prompts that are younger than the weights must not move any id.
    write_tokenizer(tmp_path, sorted(set(every_prompt())))
    assert hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest() == FROZEN


def decoded(core: Any, text: str) -> str:
    return str(core.decode(core.encode(text, add_special_tokens=False).ids, skip_special_tokens=False))


def test_sizes(core: Any) -> None:
    vocabulary = core.get_vocab()
    assert len(vocabulary) == SIZE
    assert sorted(vocabulary.values()) == list(range(SIZE))
    assert sum("spare" in token for token in vocabulary) >= SPARE
    assert [core.token_to_id(token) for token in CONTROLS] == list(range(len(CONTROLS)))


def test_markers_digits_and_verdicts_are_one_token_each(core: Any) -> None:
    for text in (*CONTROLS, *MARKERS, *"0123456789", "Yes", "No", "\\boxed{", "\n", " = "):
        assert core.encode(text).tokens == [text]
    assert core.encode("123").tokens == ["1", "2", "3"]
    assert core.encode("<Thread>\n1: a</Thread><Thread>").tokens[0] == "<Thread>"


def test_every_name_is_two_tokens_wherever_it_stands(core: Any) -> None:
    for lexicon in LEXICONS.values():
        for name in lexicon.names:
            assert len(core.encode(name).ids) == 2
            assert len(core.encode(f"the {name}").ids) in (3, 4, 5)
            assert core.encode(f". {name}").tokens[-2:] == [f" {part}" for part in name.split()]


@pytest.mark.parametrize("mix", MIXES)
def test_texts_of_the_family_need_no_letters(core: Any, mix: str) -> None:
    for split in ("train", "test") if mix != "extrapolation" else ("extrapolation",):
        found = item(parse_source(f"graphmath:{mix},split={split}"), 0)
        for text in (found.text, found.solution(Random(0))):
            assert decoded(core, text) == text
            pieces = core.encode(text).tokens
            assert not [piece for piece in pieces if len(piece) == 1 and piece.isalpha()]


def test_passages_of_the_corpus_need_no_letters(core: Any) -> None:
    for passage in corpus(parse_source("graphmath:search"), problems=3, passages=200):
        text = f"Page 1: {passage.title}\n{passage.text}"
        assert decoded(core, text) == text
        assert len(core.encode(text).ids) < 100
        assert not [piece for piece in core.encode(passage.text).tokens if len(piece) == 1 and piece.isalpha()]


@settings(deadline=None, max_examples=300)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(core: Any, text: str) -> None:
    assert decoded(core, text) == text


@pytest.mark.parametrize(
    "text", ["a  =  b", "\r\n\t x", "x7, 156 x5", "[[ ## answer ## ]]\n1", "e=mc^2", " = = ", "<Threads>", "\n\n\n"]
)
def test_edges_come_back(core: Any, text: str) -> None:
    assert decoded(core, text) == text


def test_too_many_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="spare ids"):
        write_tokenizer(tmp_path, [" ".join("".join(Random(n).choices("abcdefgh", k=9)) for n in range(400))])
