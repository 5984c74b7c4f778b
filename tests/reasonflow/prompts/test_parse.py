import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.prompts.parse import parse
from reasonflow.prompts.styles import effective_signature

QUESTION = dspy.Signature("question -> answer")


def test_a_boxed_answer_with_its_reasoning() -> None:
    parsed = parse(effective_signature(QUESTION, "boxed"), "boxed", "<think>hm</think>Because.\n\\boxed{4}")
    assert parsed.fields == {"reasoning": "Because.", "answer": "4"}
    assert (parsed.thinking, parsed.text, parsed.repairs) == ("hm", "Because.\n\\boxed{4}", ())


def test_no_answer_is_none_and_says_so() -> None:
    parsed = parse(QUESTION, "boxed", "no idea")
    assert parsed.fields["answer"] is None
    assert parsed.repairs == ("no answer found",)


def test_a_text_cut_in_its_thinking_has_no_solution() -> None:
    parsed = parse(QUESTION, "boxed", "<think>maybe \\boxed{4}", "length")
    assert (parsed.fields["answer"], parsed.text) == (None, "")
    assert "the text ended inside its thinking" in parsed.repairs


def test_a_cut_text_is_named() -> None:
    parsed = parse(dspy.Signature("drafts -> summary"), "text", " all of it ", "length")
    assert parsed.fields == {"summary": "all of it"}
    assert parsed.repairs == ("the text was cut at its token cap",)


def test_fields_are_typed_by_the_adapter() -> None:
    signature = dspy.Signature("question -> answer: int, unit")
    text = "[[ ## answer ## ]]\n4\n\n[[ ## unit ## ]]\nkm\n\n[[ ## completed ## ]]"
    assert parse(signature, "fields", text).fields == {"answer": 4, "unit": "km"}
    assert parse(signature, "fields", '{"answer": 4, "unit": "km"}', adapter=dspy.JSONAdapter()).fields["answer"] == 4


def test_a_parse_error_carries_the_predictors_own_signature() -> None:
    signature = dspy.Signature("question -> answer: int, unit")
    with pytest.raises(AdapterParseError) as caught:
        parse(signature, "fields", '{"answer": 4, "unit": "km"}')
    assert caught.value.signature is signature


@given(st.text())
def test_free_form_never_raises(text: str) -> None:
    assert set(parse(QUESTION, "boxed", text).fields) == {"reasoning", "answer"}
    assert parse(QUESTION, "text", text).fields["answer"] == parse(QUESTION, "text", text).text
