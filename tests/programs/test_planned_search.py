"""PlannedSearch on a scripted model: plans, their graphs, and what goes wrong in them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.programs.planned_search import PlannedSearch
from reasonflow.programs.search_steps import Step, filled, given_steps, read_steps

PLAN = """I divide it.
1. What is the capital of Ardle?
2. What is the capital of Corm?
3. Which river runs through #1?
4. Which river runs through #2?"""
PAGES = {
    "What is the capital of Ardle?": "Brin is the capital.",
    "What is the capital of Corm?": "Dole is the capital.",
    "Which river runs through Brin?": "It is the Tay.",
    "Which river runs through Dole?": "It is the Esk.",
}
SHORT = {"Brin is": "Brin", "Dole is": "Dole", "the Tay": "the Tay", "the Esk": "the Esk"}


class Model:
    """Plans, answers sub-questions from their pages, and answers. Remembers the last prompt."""

    def __init__(self, plan: str = PLAN, answer: str = r"\boxed{the Tay and the Esk}") -> None:
        self.plan, self.answer, self.last = plan, answer, ""

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        if "Divide the question" in prompt:
            return self.plan
        if "from the pages" in prompt:
            return next(short for words, short in SHORT.items() if words in prompt)
        self.last = prompt
        return self.answer


async def find(query: str) -> list[str]:
    return [PAGES[query]] if query in PAGES else []


def run(model: Any, retriever: Any = find, inputs: dict[str, Any] | None = None, **options: Any) -> Any:
    program = PlannedSearch("question -> answer", retriever, **options)
    with dspy.context(lm=rf.scripted(model, window=32_768)):
        return program(question="Which rivers run through the capitals?", **(inputs or {}))


def test_sub_questions_are_searched_with_the_answers_they_need() -> None:
    model = Model()
    out = run(model)
    assert out.answer == "the Tay and the Esk"
    assert [(s["question"], s["answer"], s["level"]) for s in out.searches] == [
        ("What is the capital of Ardle?", "Brin", 1),
        ("What is the capital of Corm?", "Dole", 1),
        ("Which river runs through Brin?", "the Tay", 2),
        ("Which river runs through Dole?", "the Esk", 2),
    ]
    assert out.turns == 4
    assert "Which river runs through Dole? the Esk" in model.last
    assert out.run.repairs == []


def test_a_branch_waits_for_nothing_that_it_does_not_read() -> None:
    ended: dict[str, float] = {}

    async def slow(query: str) -> list[str]:
        await anyio.sleep(0.4 if "Corm" in query else 0.05)
        ended[query] = time.perf_counter()
        return await find(query)

    run(Model(), slow)
    assert ended["Which river runs through Brin?"] < ended["What is the capital of Corm?"]


def test_steps_may_be_given() -> None:
    steps = [
        {"question": "What is the capital of Ardle?"},
        {"question": "Which river runs through #1?", "needs": [0]},
    ]
    out = run(Model(), inputs={"decomposition": steps}, given="decomposition")
    assert [s["answer"] for s in out.searches] == ["Brin", "the Tay"]
    assert out.run.usage.calls == 3


@pytest.mark.parametrize(
    "steps", [[], "1. a", [{"q": "a"}], [{"question": "a", "needs": [1]}], [{"question": " "}], None]
)
def test_steps_that_are_none_are_refused(steps: Any) -> None:
    with pytest.raises(InputError, match="no list of sub-questions"):
        given_steps(steps)


def test_without_a_plan_the_question_itself_is_searched() -> None:
    out = run(Model("I cannot divide it."))
    assert [s["question"] for s in out.searches] == ["Which rivers run through the capitals?"]
    assert any("no numbered line" in repair for repair in out.run.repairs)


def test_what_finds_nothing_or_fails_is_told() -> None:
    async def gone(query: str) -> list[str]:
        if "Corm" in query:
            raise OSError("the index is gone")
        return await find(query)

    model = Model()
    out = run(model, gone)
    outcomes = {s["question"]: (s["outcome"], s["answer"]) for s in out.searches}
    assert outcomes["What is the capital of Corm?"] == ("failed", "unknown")
    assert outcomes["Which river runs through unknown?"] == ("nothing", "unknown")
    assert any("the index is gone" in repair for repair in out.run.repairs)


def test_further_steps_than_are_allowed_are_left_out() -> None:
    out = run(Model(), steps=2)
    assert len(out.searches) == 2
    assert any("left out the last 2" in repair for repair in out.run.repairs)


def test_several_questions_do_not_wait_for_each_other() -> None:
    program = PlannedSearch("question -> answer", find)

    async def several() -> list[Any]:
        return list(await asyncio.gather(*(program.acall(question=f"question {n}") for n in range(4))))

    with dspy.context(lm=rf.scripted(Model(), window=32_768)):
        assert [out.answer for out in asyncio.run(several())] == ["the Tay and the Esk"] * 4


# Plans as text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. a?\n2) b of #1?", [Step("a?"), Step("b of #1?", (0,))]),
        ("Step 1: a?\n#2. b of #1 and #1?", [Step("a?"), Step("b of #1 and #1?", (0,))]),
        ("3. a?\n7. b of #3?", [Step("a?"), Step("b of #1?", (0,))]),
        ("1. a?\n1. b?\n2. c of #1?", [Step("a?"), Step("b?"), Step("c of #2?", (1,))]),
        ("no plan", []),
    ],
)
def test_plans_are_read_as_they_are_numbered(text: str, steps: list[Step]) -> None:
    assert read_steps(text) == (steps, [])


def test_a_step_cannot_need_what_does_not_come_before_it() -> None:
    steps, faults = read_steps("1. a of #2?\n2. b of #2 and #9?")
    assert steps == [Step("a of ?"), Step("b of and ?")]
    assert len(faults) == 3


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1. ", "2. ", "3. ", "#1", "#2", " a?", "\n"]), max_size=25))
def test_every_plan_is_a_graph_without_circles(pieces: list[str]) -> None:
    steps, _ = read_steps("".join(pieces))
    for place, step in enumerate(steps):
        assert all(need < place for need in step.needs)
        assert step.question == step.question.strip()
        assert "#" not in filled(step, dict.fromkeys(step.needs, "known"))


def test_numbers_of_two_digits_are_not_taken_for_one() -> None:
    assert filled(Step("#1 and #12", (0, 11)), {0: "a", 11: "b"}) == "a and b"


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to search"):
        PlannedSearch("question -> answer")
