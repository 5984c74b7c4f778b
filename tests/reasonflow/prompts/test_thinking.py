from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.chunk_tokenizer import ChunkTokenizer
from reasonflow.prompts.thinking import ThinkingStream, ThinkTags, opens_thought, split_thinking


@pytest.mark.parametrize(
    ("text", "thinking", "solution"),
    [
        ("plain", "", "plain"),
        ("<think>why</think>so", "why", "so"),
        ("why</think>so", "why", "so"),
        ("<think>cut off", "cut off", ""),
        ("<think></think>so", "", "so"),
        ("<think>a</think>b<think>c</think>d", "a\n\nc", "b\n\nd"),
        ("", "", ""),
    ],
)
def test_thinking_and_solution_come_apart(text: str, thinking: str, solution: str) -> None:
    assert split_thinking(text) == (thinking, solution)


def test_a_thought_opened_by_the_prompt_and_cut_is_all_thinking() -> None:
    assert split_thinking("still going", opened=True) == ("still going", "")
    assert split_thinking("done</think>so", opened=True) == ("done", "so")


def test_other_models_have_other_tags() -> None:
    tags = ThinkTags("[THINK]", "[/THINK]")
    assert split_thinking("[THINK]a[/THINK]b <think>", tags) == ("a", "b <think>")


def test_a_prompt_that_ends_in_an_open_thought_is_seen() -> None:
    tokenizer = ChunkTokenizer()
    assert opens_thought(tokenizer.encode("question<|assistant|><think>\n"), tokenizer)
    assert not opens_thought(tokenizer.encode("question <think></think><|assistant|>"), tokenizer)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "</thi", "a", " b", ">"])).map("".join),
    st.lists(st.integers(0, 60)),
    st.booleans(),
)
def test_a_stream_splits_alike_wherever_its_pieces_end(text: str, cuts: list[int], opened: bool) -> None:
    def told(pieces: list[str]) -> tuple[str, str]:
        stream = ThinkingStream(opened=opened)
        seen = [part for piece in pieces for part in stream.feed(piece)]
        seen.extend(stream.rest())
        return "".join(t for inside, t in seen if inside), "".join(t for inside, t in seen if not inside)

    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert told([text[a:b] for a, b in pairwise(edges)]) == told([text])
