from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.chunk_tokenizer import END_ID, ChunkTokenizer
from reasonflow.backends.protocol import Tokenizer

tokenizer = ChunkTokenizer()


@given(st.text())
def test_decoding_gives_the_text_back(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_it_is_a_tokenizer_with_about_four_characters_per_token() -> None:
    assert isinstance(tokenizer, Tokenizer)
    text = "The quick brown fox jumps over the lazy dog. " * 20
    assert 2.5 < len(text) / len(tokenizer.encode(text)) < 6


def test_a_chat_ends_ready_for_the_assistant() -> None:
    tokens = tokenizer.render([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    assert tokenizer.decode(tokens) == "<|system|>s<|end|><|user|>u<|end|><|assistant|>"
    assert tokens.count(END_ID) == 2


def test_chats_with_the_same_beginning_share_it() -> None:
    def chat(text: str) -> tuple[int, ...]:
        return tokenizer.render([{"role": "user", "content": "one two three four " + text}])

    shared = len(tokenizer.encode("<|user|>one two three four"))
    assert chat("five")[:shared] == chat("six")[:shared]


@given(
    st.lists(st.sampled_from(["\n", "\n\n", " ", "a", "word", "<|end|>", "<|us", "er|>", "longer words"]), max_size=12)
)
def test_paragraphs_have_the_tokens_they_have_in_the_text(parts: list[str]) -> None:
    """A piece in front of whitespace is encoded as it would be alone."""
    text = "".join(parts)
    whole = [token for piece in ("x" + text).split(" ") for token in tokenizer.encode(" " + piece)]
    assert tokenizer.encode(" x" + text) == tuple(whole)
