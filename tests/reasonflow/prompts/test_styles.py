import dspy
import pytest

from reasonflow.errors import ProgramError, UnknownName
from reasonflow.prompts.styles import answer_field, choose_style, effective_signature


@pytest.mark.parametrize(
    ("signature", "style"),
    [
        ("question -> answer", "boxed"),
        ("question -> reasoning, answer", "boxed"),
        ("question -> answer: int", "fields"),
        ("question -> answer, confidence", "fields"),
        ("question -> reasoning", "boxed"),
    ],
)
def test_a_single_string_answer_is_boxed_and_the_rest_are_fields(signature: str, style: str) -> None:
    assert choose_style(dspy.Signature(signature)) == style


def test_a_wish_is_granted_where_the_signature_can_carry_it() -> None:
    assert choose_style(dspy.Signature("question -> answer"), "fields") == "fields"
    assert choose_style(dspy.Signature("question -> answer: int"), "boxed") == "boxed"
    assert choose_style(dspy.Signature("drafts -> summary"), "text") == "text"


@pytest.mark.parametrize("style", ["boxed", "text"])
def test_free_form_needs_one_output(style: str) -> None:
    with pytest.raises(ProgramError, match="exactly one output"):
        choose_style(dspy.Signature("question -> answer, confidence"), style)  # type: ignore[arg-type]


def test_text_has_no_room_for_reasoning() -> None:
    with pytest.raises(ProgramError, match="no room"):
        choose_style(dspy.Signature("question -> reasoning, answer"), "text")


def test_an_unknown_style_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="boxed"):
        choose_style(dspy.Signature("question -> answer"), "boxd")  # type: ignore[arg-type]


def test_a_signature_without_outputs_is_refused() -> None:
    class Nothing(dspy.Signature):
        """Say nothing."""

        question: str = dspy.InputField()

    with pytest.raises(ProgramError, match="no output field"):
        choose_style(Nothing)


def test_boxed_gains_a_real_reasoning_field_in_front() -> None:
    signature = dspy.Signature("question -> answer")
    extended = effective_signature(signature, "boxed")
    assert list(extended.output_fields) == ["reasoning", "answer"]
    assert effective_signature(extended, "boxed") is extended
    assert effective_signature(signature, "boxed") is extended  # built once
    assert effective_signature(signature, "text") is signature
    assert answer_field(extended) == "answer"
