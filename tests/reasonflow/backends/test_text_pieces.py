"""Texts cut where their tokens fall apart: the ids are those of the whole text, or nothing is cut."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

from reasonflow.backends import text_pieces
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.protocol import Tokens
from reasonflow.backends.text_pieces import LEAST, falls_apart, pieces

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPLITTERS = {
    "llama-3": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
BREAKING = {
    "a space in front": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "spaces as marks": pre_tokenizers.Metaspace(),
    "a line's end with what follows": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_next"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "the last of several line ends with what follows": pre_tokenizers.ByteLevel(add_prefix_space=False),  # GPT-2's
    "the text whole": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
}
CORPUS = [
    "So 12.5 is it.\n\n## Question\nWhat?\n- one\n- two\n#\n",
    "don't\r\n\tstop\n\n\n<|end|>\n(x)\n\nélan\n中文\n",
] * 50


def trained(splitter: pre_tokenizers.PreTokenizer) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = splitter
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens(["<|end|>"])
    return core


@cache
def core_of(name: str) -> Tokenizer:
    return HfTokenizer(ModelFiles("embedded"))._core if name == "embedded" else trained(SPLITTERS[name])


@pytest.mark.parametrize("name", ["embedded", *SPLITTERS])
@given(
    parts=st.lists(
        st.one_of(st.text(max_size=12), st.text("\n\r\t #'.,a1é中", max_size=12), st.sampled_from(["\n", "<|end|>"])),
        max_size=40,
    )
)
def test_the_ids_of_the_pieces_are_those_of_the_text(name: str, parts: list[str]) -> None:
    core, text = core_of(name), "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_pieces, "LEAST", 3)
        cut = list(pieces(text))
    assert "".join(cut) == text
    ids = [id for piece in cut for id in core.encode(piece, add_special_tokens=False).ids]
    assert ids == core.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", ["embedded", *SPLITTERS])
def test_tokenizers_that_split_a_text_first_fall_apart(name: str) -> None:
    assert falls_apart(core_of(name))


@pytest.mark.parametrize("splitter", BREAKING.values(), ids=BREAKING)
def test_tokenizers_that_join_lines_or_mark_a_beginning_do_not(splitter: pre_tokenizers.PreTokenizer) -> None:
    assert not falls_apart(trained(splitter))


def test_a_tokenizer_without_a_splitter_or_with_tokens_that_take_the_space_before_them_does_not() -> None:
    assert not falls_apart(Tokenizer(models.BPE()))
    core = trained(SPLITTERS["llama-3"])
    core.add_special_tokens([AddedToken("<|mask|>", lstrip=True, special=True)])
    assert not falls_apart(core)


def test_texts_that_begin_alike_share_their_first_pieces() -> None:
    context = "A line of the context.\n" * 200
    first, second = (list(pieces(f"{context}\n## Notes\n{notes}\n" + "x" * LEAST)) for notes in ("one", "another"))
    assert first[:3] == second[:3]
    assert len("".join(first[:-1])) > len(context) - 2 * LEAST
    assert all(len(piece) >= LEAST for piece in first[:-1])


def test_what_prompts_have_in_common_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = HfTokenizer(ModelFiles("embedded"))
    encoded: list[str] = []
    ids = tokenizer._ids

    def counted(text: str) -> Tokens:
        encoded.append(text)
        return ids(text)

    monkeypatch.setattr(tokenizer, "_ids", counted)
    context = "How many bells are there? " * 200 + "\n"
    for number in range(8):
        text = f"{context}## Question\nNumber {number}"
        assert tokenizer.encode(text) == tuple(tokenizer._core.encode(text, add_special_tokens=False).ids)
    assert encoded.count(context) == 1
    assert len(encoded) == 9
