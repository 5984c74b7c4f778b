"""Signatures as users hand them in: DSPy's, or an error that says what is wrong."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.signatures import read_signature


class WithoutOutputs(dspy.Signature):
    problem: str = dspy.InputField()


def test_texts_and_classes_are_read() -> None:
    read = read_signature("problem, hint -> answer: int")
    assert list(read.input_fields) == ["problem", "hint"]
    assert read_signature(read) is read


BAD = {
    "problem": "no outputs",
    "problem ->": "no outputs",
    "": "no outputs",
    "a b -> c": "not a signature",
    "a -> a": "distinct names",
    "a: nosuchtype -> b": "nosuchtype",
    "a -> b -> c": "exactly one",
    "a -> b: list[": "not a signature",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match=BAD[text]) as caught:
        read_signature(text)
    assert caught.value.fix


@pytest.mark.parametrize("program", [rf.ChainOfThought, rf.SelfConsistency, rf.PDR, rf.SequentialRefine, rf.Generate])
@pytest.mark.parametrize("signature", ["problem", "a b -> c", WithoutOutputs, 3, None])
def test_every_program_says_it_the_same_way(program: Any, signature: Any) -> None:
    with pytest.raises(InputError, match="signature"):
        program(signature)
