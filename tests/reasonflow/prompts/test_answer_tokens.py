"""Which tokens are a sample's answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.prompts.answer_tokens import answer_tokens, text_tokens
from reasonflow.prompts.thinking import THINK, split_thinking

PIECES = st.lists(st.sampled_from([THINK.open, THINK.close, " a", "b c", "\n", "7"]), max_size=12)


def tokens(*texts: str) -> list[TokenLogprobs]:
    return [TokenLogprobs(text, -float(place)) for place, text in enumerate(texts)]


def joined(found: tuple[TokenLogprobs, ...]) -> str:
    return "".join(token.token for token in found)


def test_what_ended_the_turn_is_none_of_them() -> None:
    for end in ("<|im_end|>", ""):
        assert joined(answer_tokens(tokens("4", "2", end), "42")) == "42"
        assert len(answer_tokens(tokens("4", "2", end), "42")) == 2
    assert joined(text_tokens(tokens("4", "2", "</Thread>"), "42")) == "42"
    assert answer_tokens([], "42") == ()


def test_a_thought_is_none_of_them() -> None:
    assert joined(answer_tokens(tokens("<think>", "hm", "</think>", "4", "2", ""), "<think>hm</think>42")) == "42"
    assert joined(answer_tokens(tokens("hm", "</think>", "42"), "hm</think>42", opened=True)) == "42"
    assert answer_tokens(tokens("hm", " hm"), "hm hm", opened=True) == ()
    assert joined(text_tokens(tokens("<think>", "hm", "</think>"), "<think>hm</think>")) == "<think>hm</think>"


@given(PIECES, st.booleans())
def test_together_they_are_the_end_of_the_solution(pieces: list[str], opened: bool) -> None:
    text = "".join(pieces)
    found = answer_tokens(tokens(*pieces, "<|im_end|>"), text, opened=opened)
    _, solution = split_thinking(text, THINK, opened=opened)
    once = text.count(THINK.open) <= 1 and text.count(THINK.close) <= 1
    assert solution.endswith(joined(found).strip())
    before, thought, _ = text.partition(THINK.open)
    first = opened or not (thought and before.strip())  # what stands before a thought is no token behind it
    if once and first and not text.startswith(THINK.close):
        assert joined(found).strip() in ("", solution.strip())
