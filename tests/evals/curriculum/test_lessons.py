"""Lessons: prompts as runs render them, completions that the programs' own parsers read."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import reasonflow as rf
from reasonflow.evals.curriculum.instructions import PARAPHRASES, ROLES
from reasonflow.evals.curriculum.lessons import Lesson, Teacher, cut_alike
from reasonflow.evals.curriculum.mistakes import mistaken
from reasonflow.evals.curriculum.roles import every_prompt, signature_of, template
from reasonflow.evals.tasks import tokens
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.parse import parse
from reasonflow.prompts.render import render_messages

MID = parse_source("graphmath:mid,split=train")
FOUND = item(MID, 0)
DRAFTS = [FOUND.solution(Random(1)), mistaken(FOUND.content, Random(2)), FOUND.solution(Random(3))]


def text(lesson: Lesson) -> str:
    return "".join(piece.text for piece in lesson.completion)


def lessons(kind: str, read: Any, count: int = 60) -> list[Lesson]:
    return [getattr(Teacher(Random(seed)), kind)(FOUND, read) for seed in range(count)]


@pytest.mark.parametrize("layout", ["shared", "dspy"])
def test_a_call_sites_own_prompt_is_what_its_run_sends(layout: Any) -> None:
    pdr = rf.PDR(widths=(2,))
    sent = render_messages(pdr.refine.signature, "boxed", (), {"problem": "P", "workspace": "W"}, None, layout)
    assert template("refine", None, "", layout).messages({"problem": "P", "workspace": "W"}) == sent
    sent = render_messages(pdr.distill.signature, "text", (), {"problem": "P", "drafts": ["a", "b"]}, None, layout)
    assert template("distill", None, "", layout).messages({"problem": "P", "drafts": ["a", "b"]}) == sent
    judge = rf.YesProbability().signature
    sent = render_messages(judge, "verdict", (), {"problem": "P", "candidate": "C"}, None, layout)
    assert template("verdict", None, "", layout).messages({"problem": "P", "candidate": "C"}) == sent


def test_every_role_has_paraphrases_in_every_form() -> None:
    prompts = list(every_prompt())
    for role in ROLES:
        assert len(set(PARAPHRASES[role])) == len(PARAPHRASES[role]) >= 10
        for wording in PARAPHRASES[role]:
            assert sum(wording in prompt for prompt in prompts) >= 2


@pytest.mark.parametrize("kind", ["refine", "aggregate"])
def test_refinements_end_in_the_right_answer(kind: str) -> None:
    for lesson in lessons(kind, DRAFTS):
        assert str(FOUND.answer) in text(lesson)
        assert extract_answer(text(lesson)).answer == str(FOUND.answer)


def test_attempts_are_improved() -> None:
    for attempt in (*DRAFTS, *cut_alike(DRAFTS, 20, 60, Random(0))):
        for lesson in lessons("improve", attempt, 10):
            assert extract_answer(text(lesson)).answer == str(FOUND.answer)


def test_marked_fields_are_read_by_dspys_adapter() -> None:
    seen = 0
    for seed in range(80):
        lesson = Teacher(Random(seed)).solve_plainly(FOUND)
        assert "[[ ##" not in text(lesson)
        lesson = Teacher(Random(seed)).solve(FOUND)
        if "[[ ## answer ## ]]" in text(lesson):
            signature = signature_of("solve").prepend("reasoning", rf_output(), type_=str)
            assert parse(signature, "fields", text(lesson)).fields["answer"] == str(FOUND.answer)
            seen += 1
    assert seen


def rf_output() -> Any:
    import dspy

    return dspy.OutputField()


def test_verdicts_name_what_is_wrong() -> None:
    assert {text(lesson) for lesson in lessons("verdict", DRAFTS[0], 10)} == {"Yes"}
    (said,) = {text(lesson) for lesson in lessons("verdict", DRAFTS[1], 10)}
    assert said == "No" or said.removeprefix("No: ") in {q.name for q in FOUND.content.quantities}  # type: ignore[union-attr]


def test_grades_and_notes_are_short() -> None:
    for lesson in lessons("grade", DRAFTS):
        numbers = [int(number) for number in text(lesson).split(", ")]
        assert set(numbers) <= {1, 2, 3}
        assert numbers[0] in (1, 3)
    for lesson in lessons("distill", DRAFTS, 20):
        assert 0 < tokens.count(text(lesson)) <= 256
    assert "### Draft 3" in lessons("distill", DRAFTS, 1)[0].messages[-1]["content"]


def test_demonstrations_stand_before_the_question() -> None:
    shown = [item(MID, 1), item(MID, 2)]
    lesson = Teacher(Random(4)).solve(FOUND, shown)
    contents = [str(turn["content"]) for turn in lesson.messages]
    assert [turn["role"] for turn in lesson.messages][-5:] == ["user", "assistant", "user", "assistant", "user"]
    assert all(other.text in "".join(contents[:-1]) for other in shown)
    assert FOUND.text in contents[-1]
