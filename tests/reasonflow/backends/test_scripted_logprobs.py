"""Log-probabilities in scripts."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from reasonflow.backends.protocol import Completion, Piece, Prompt, Request, Sampling
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import InputError


def completion(answer: Any, *, top_logprobs: int = 20, n: int = 1, **sampling: Any) -> Completion:
    request = Request(
        prompt=Prompt(messages=({"role": "user", "content": "hello"},)), n=n, sampling=Sampling(**sampling)
    )
    return asyncio.run(ScriptedBackend(answer, top_logprobs=top_logprobs).generate(request))[-1]


def test_chances_are_one_token_the_likeliest_of_them() -> None:
    found = completion({"No": 0.15, "Yes": 0.8}, logprobs=20)
    assert found.text == "Yes"
    assert found.output_tokens == len(found.logprobs) == 2  # and the end of the turn
    first = found.logprobs[0]
    assert (first.token, first.logprob) == ("Yes", math.log(0.8))
    assert first.top == (("Yes", math.log(0.8)), ("No", math.log(0.15)))


def test_plain_text_is_certain_and_only_told_when_asked_for() -> None:
    assert completion("one two", n=3).logprobs == ()
    found = completion("one two", logprobs=5, n=3)
    assert [token.token for token in found.logprobs][:2] == ["one", " two"]
    assert {token.logprob for token in found.logprobs} == {0.0}


def test_as_many_as_asked_for_and_as_the_engine_gives() -> None:
    chances = {"a": 0.4, "b": 0.3, "c": 0.2}
    assert [len(completion(chances, logprobs=k).logprobs[0].top) for k in (0, 1, 5)] == [0, 1, 3]
    assert len(completion(chances, logprobs=5, top_logprobs=2).logprobs[0].top) == 2
    assert completion(chances, logprobs=5, top_logprobs=0).logprobs == ()


def test_parts_make_one_text_and_keep_their_places() -> None:
    found = completion(lambda prompt, seed, index: ("I say ", {"Yes": 0.6, "No": 0.4}, " indeed"), logprobs=2)
    assert found.text == "I say Yes indeed"
    assert "".join(token.token for token in found.logprobs[:-1]) == found.text
    assert [len(token.top) for token in found.logprobs].count(2) == 1


def test_parts_end_at_a_stop_string_and_at_the_cap() -> None:
    script = [("I say ", {"Yes": 0.6, "No": 0.4}, " stop here")]
    stopped = completion(script, stop=(" stop",), logprobs=2)
    assert stopped.text == "I say Yes"
    cut = completion(script, max_tokens=2, logprobs=2)
    assert (cut.text, cut.finish_reason, len(cut.logprobs)) == ("I say", "length", 2)


def test_pieces_carry_those_of_their_tokens() -> None:
    seen: list[Any] = []
    request = Request(prompt=Prompt(messages=()), sampling=Sampling(logprobs=1), stream=True)
    (end,) = asyncio.run(ScriptedBackend({"Yes": 0.8}).generate(request, seen.append))
    told = tuple(entry for piece in seen if isinstance(piece, Piece) for entry in piece.logprobs)
    assert told == end.logprobs[: len(told)] != ()


@pytest.mark.parametrize("chances", [{}, {"Yes": 0.0}, {"Yes": 0.8, "No": 0.4}, {"Yes": "often"}, {"": 1.0}])
def test_chances_that_are_none_are_refused(chances: Any) -> None:
    with pytest.raises(InputError, match="chances are"):
        completion(chances)


def test_the_likeliest_must_be_one_token() -> None:
    with pytest.raises(InputError, match="is 3 tokens"):
        completion({"certainly": 0.8})


def test_no_engine_reports_fewer_than_none() -> None:
    with pytest.raises(InputError, match="top_logprobs is -1"):
        ScriptedBackend("x", top_logprobs=-1)
