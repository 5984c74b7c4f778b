"""Generated problems: equal for equal seeds, any dataset of the library, refused options."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.benchmarks import load
from reasonflow.evals.tasks import Task, generate, open_dataset, parse_task


def test_equal_seeds_make_equal_problems() -> None:
    task = Task(dataset="chain_sum", options={"max_terms": 3})
    assert generate(task, size=5, seed=1) == generate(task, size=5, seed=1)
    assert generate(task, size=5, seed=1) != generate(task, size=5, seed=2)


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    shorter, longer = load("rg:gcd", limit=3), load("rg:gcd", limit=6)
    assert [(p.id, p.inputs, p.answer) for p in longer[:3]] == [(p.id, p.inputs, p.answer) for p in shorter]


def test_options_stand_behind_commas() -> None:
    assert parse_task("rg:chain_sum,min_terms=2,allow_negation=true,seed=3") == Task(
        dataset="chain_sum", options={"min_terms": 2, "allow_negation": True}, seed=3
    )
    assert load("rg:gcd,seed=3", limit=2) == load("rg:gcd", limit=2, seed=3) != load("rg:gcd", limit=2)
    problems = load("rg:leg_counting,min_animals=1,max_animals=1", limit=4)
    assert all("," not in p.inputs["problem"].split("if you have")[1] for p in problems)


def test_a_problem_is_an_entry_of_the_library() -> None:
    for problem in load("rg:gcd,seed=2", limit=4):
        origin = {key: problem.grading[key] for key in ("dataset", "options", "size", "seed")}
        entry = open_dataset(**origin)[problem.grading["index"]]
        assert (entry["question"], entry["answer"]) == (problem.inputs["problem"], problem.answer)
        assert problem.source == "reasoning-gym/gcd"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("rg:chain_sums", UnknownName, "did you mean 'chain_sum'"),
        ("rg:chain_sum,min_term=2", UnknownName, "did you mean 'min_terms'"),
        ("rg:chain_sum,size=2", UnknownName, "unknown option"),
        ("rg:chain_sum,seed=x", InputError, "no whole number"),
        ("rg:chain_sum,min_terms", InputError, "option=value"),
        ("rg:chain_sum,min_terms=9,max_terms=2", InputError, "refuses the options"),
        ("rg:chain_sum,min_terms=many", InputError, "refuses the options"),
        ("rg:", UnknownName, "unknown reasoning-gym dataset"),
    ],
)
def test_what_the_library_refuses_is_an_input_error(name: str, error: type[InputError], says: str) -> None:
    with pytest.raises(error, match=says):
        load(name, limit=2)
