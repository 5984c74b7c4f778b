"""Annotated questions as problems: the three forms of a decomposition, typed answers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, digest
from reasonflow.evals.evidence import Evidence, Passage, Step
from reasonflow.evals.qa.reading import evidence_of, listed_question_of, question_of


def read(row: dict[str, Any]) -> Problem:
    return question_of(row, where="f:1", default_id="line-1", source="f")


def listed(*answers: Any) -> Problem:
    return listed_question_of({"question": "Which?", "answers": list(answers)}, where="f:1", default_id="1", source="f")


def evidence(**row: Any) -> Evidence:
    return evidence_of(row, where="f:1")


def test_the_program_is_asked_the_question_and_nothing_else() -> None:
    row = {
        "id": "q1",
        "question": "Who made it?",
        "answers": ["Nick Park", "Park"],
        "passages": [{"title": "Park", "text": "He made it.", "supporting": True}, {"title": "X", "text": "No."}],
        "supporting_facts": [["Park", 0], ["Park", 1]],
        "hops": 2,
        "type": "bridge",
    }
    problem = read(row)
    assert dict(problem.inputs) == {"question": "Who made it?"}
    assert (problem.kind, problem.answer, problem.aliases) == ("text", "Nick Park", ("Park",))
    assert problem.evidence == Evidence(
        titles=("Park",),
        passages=(Passage(title="Park", text="He made it.", supporting=True), Passage(title="X", text="No.")),
        hops=2,
        type="bridge",
    )
    assert problem.evidence.supporting == problem.evidence.passages[:1]
    bare = read({name: row[name] for name in ("id", "question", "answers")})
    assert bare.evidence == Evidence()
    assert digest([problem]) == digest([bare]), "evidence decides neither what is asked nor what is right"


def test_a_problem_with_one_answer_is_a_question_too() -> None:
    problem = read({"problem": "How many?", "answer": 7})
    assert (dict(problem.inputs), problem.answer, problem.kind) == ({"question": "How many?"}, "7", "text")


def test_steps_of_single_hops_need_those_that_they_name() -> None:
    made = evidence(
        passages=[
            {"title": "Rabbis", "text": "1", "supporting": True},
            {"title": "Noise", "text": "2", "supporting": False},
            {"title": "Books", "text": "3", "supporting": True},
        ],
        decomposition=[
            {"question": "Who wrote it?", "answer": "Menachem", "support_idx": 2},
            {"question": "#1 >> follows, at #7 of #1", "answer": "Dovber", "support_idx": 0},
        ],
    )
    assert made.steps == (
        Step(id="1", question="Who wrote it?", answer="Menachem", titles=("Books",)),
        Step(id="2", question="#1 >> follows, at #7 of #1", answer="Dovber", depends_on=("1",), titles=("Rabbis",)),
    )
    assert made.titles == ("Books", "Rabbis"), "in the order of the hops"
    assert made.by_hop == (("Books",), ("Rabbis",))


def test_triples_are_joined_where_one_ends_and_another_begins() -> None:
    made = evidence(
        supporting_facts=[["Film A", 0], ["Dwan", 1]],
        decomposition=[
            {"triple": ["film A", "director", "Allan Dwan"]},
            {"triple": ["Allan Dwan", "date of birth", "3 April 1885"]},
        ],
    )
    assert made.steps == (
        Step(id="1", question="film A >> director", answer="Allan Dwan", titles=("Film A",)),
        Step(id="2", question="Allan Dwan >> date of birth", answer="3 April 1885", depends_on=("1",)),
    )
    # No step names the page Dwan, so each title is a hop.
    assert made.by_hop == (("Film A",), ("Dwan",))


def test_parts_of_a_question_stand_before_it_and_need_what_it_needs() -> None:
    page = {"title": "Continent", "pageid": 1, "revid": 2}
    made = evidence(
        decomposition=[
            {"id": "a", "question": "Largest?", "answer": "Asia", "depends_on": [], "evidence": page},
            {
                "id": "b",
                "question": "Populations?",
                "answer": {"Macau": 680000},
                "depends_on": ["a"],
                "decomposition": [
                    {"id": "c", "question": "Smallest?", "answer": ["Macau"], "depends_on": [], "evidence": page},
                    {
                        "id": "d",
                        "question": "Macau's?",
                        "answer": 680000,
                        "depends_on": ["c"],
                        "evidence": {"title": "Macau"},
                    },
                ],
            },
        ]
    )
    assert [(step.id, step.depends_on, step.titles) for step in made.steps] == [
        ("a", (), ("Continent",)),
        ("c", ("a",), ("Continent",)),
        ("d", ("a", "c"), ("Macau",)),
        ("b", ("a", "c", "d"), ()),
    ]
    assert made.steps[2].answer == 680000
    assert made.titles == ("Continent", "Macau")
    assert made.by_hop == (("Continent",), ("Continent",), ("Macau",))


@pytest.mark.parametrize(
    "row",
    [
        {"passages": ["only a text"]},
        {"passages": [{"title": "T"}]},
        {"supporting_facts": [[]]},
        {"decomposition": [{"question": "?", "answer": "", "support_idx": 0}]},
        {
            "decomposition": [{"question": "?", "answer": "", "support_idx": -1}],
            "passages": [{"title": "", "text": ""}],
        },
        {"decomposition": [{"triple": ["a", "b"]}]},
        {"decomposition": [{"id": "1", "question": "?"}]},
        {"hops": "two"},
    ],
)
def test_evidence_of_another_form_is_an_error_with_its_place(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"f:1: the evidence is not of the form"):
        evidence(**row)


def test_a_listed_answer_keeps_its_type_and_its_spelling() -> None:
    problem = listed({"Prost": True, "Wins": 51})
    assert problem.kind == "listed"
    assert problem.answer == '{"Prost": true, "Wins": 51}'
    assert problem.grading == {"answers": [{"Prost": True, "Wins": 51}]}
    assert digest([listed("42")]) != digest([listed(42)])


@pytest.mark.parametrize("answer", [{}, [], [""], None, {"Ada": " "}])
def test_a_listed_answer_holds_something(answer: Any) -> None:
    with pytest.raises(InputError, match=r"f:1: the answer .* holds nothing to find"):
        listed(answer)


def test_answers_are_a_list() -> None:
    with pytest.raises(InputError, match="must be a list"):
        listed_question_of({"question": "?", "answers": "Ada"}, where="f:1", default_id="1", source="f")
    one = listed_question_of({"question": "?", "answer": "Ada"}, where="f:1", default_id="1", source="f")
    assert one.grading == {"answers": ["Ada"]}
