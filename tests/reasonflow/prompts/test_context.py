"""Contexts go on token by token: what was written stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.chunk_tokenizer import END_ID, ChunkTokenizer
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.protocol import Completion
from reasonflow.prompts.context import Context, continued

CHUNKS = ChunkTokenizer()
PROMPT = ({"role": "user", "content": "How many?"},)


def begun(tokenizer: Any = CHUNKS) -> Context:
    return Context(tokenizer.render(PROMPT), "", PROMPT, tokenizer)


def wrote(text: str, tokens: tuple[int, ...], stopped: str | None = None) -> Completion:
    return Completion(text=text, tokens=tokens, stopped=stopped, output_tokens=len(tokens), prompt_tokens=1)


@pytest.fixture(scope="module")
def words() -> HfTokenizer:
    return HfTokenizer(ModelFiles("embedded"))


def test_what_was_written_stays_as_it_was() -> None:
    # "ab" as two tokens of a letter each: encoded again it would be one.
    tokens = (*CHUNKS.encode("a"), *CHUNKS.encode("b"))
    assert CHUNKS.encode("ab") != tokens
    context, exact = continued(begun(), wrote("ab", (*tokens, END_ID)))
    assert (context.tokens, context.text, exact) == ((*begun().tokens, *tokens), "ab", True)
    assert context.then(" c").tokens == (*context.tokens, *CHUNKS.encode(" c"))
    assert context.then(" c").since(context) == (CHUNKS.encode(" c"), " c")


def test_the_stop_string_is_part_of_it() -> None:
    tokens = (*CHUNKS.encode("plan"), *CHUNKS.encode("</x>"))
    context, exact = continued(begun(), wrote("plan", tokens, "</x>"))
    assert (context.since(begun()), exact) == ((tokens, "plan</x>"), True)


def test_what_reaches_beyond_the_stop_string_is_encoded_again() -> None:
    tokens = (*CHUNKS.encode("one"), *CHUNKS.encode(">two"))
    context, exact = continued(begun(), wrote("one", tokens, ">"))
    assert (context.since(begun()), exact) == (((*CHUNKS.encode("one"), *CHUNKS.encode(">")), "one>"), True)


def test_text_of_a_server_without_token_ids_is_encoded_and_said_so() -> None:
    context, exact = continued(begun(), wrote("one two", ()))
    assert (context.since(begun()), exact) == ((CHUNKS.encode("one two"), "one two"), False)
    assert continued(begun(), wrote("", ())) == (begun(), True)


def test_a_space_in_front_is_kept(words: HfTokenizer) -> None:
    tokens = words.encode(" round dolls")
    context, exact = continued(begun(words), wrote(" round dolls", (*tokens, *words.encode("<|im_end|>"))))
    assert (context.since(begun(words)), exact) == ((tokens, " round dolls"), True)


@given(st.lists(st.text("ab<> /\n", min_size=1, max_size=5), max_size=12), st.sampled_from([None, ">", "</a>"]))
def test_any_pieces_go_on_as_they_are(written: list[str], stop: str | None) -> None:
    """Whatever the tokens of a text are, the context holds that text, and its tokens as long as they write it."""
    pieces = [CHUNKS.encode(piece) for piece in written]
    tokens = tuple(token for piece in pieces for token in piece)
    text = "".join(written) if stop is None else "".join(written).split(stop)[0]
    stopped = stop if stop is not None and stop in "".join(written) else None
    if stopped is not None:  # an engine ends with the token in which the stop string ends
        ends = next(n for n in range(len(tokens) + 1) if stopped in CHUNKS.decode(tokens[:n]))
        tokens = tokens[:ends]
    context, _ = continued(begun(), wrote(text, (*tokens, *([] if stopped else [END_ID])), stopped))
    ids, shown = context.since(begun())
    assert shown == text + (stopped or "") == CHUNKS.decode(ids)
    assert ids[: len(tokens) - 1] == tokens[:-1]
