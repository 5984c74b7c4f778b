"""Worked problems as an input of their own: read, refused, and put in front of the problem."""

import json
from pathlib import Path

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.worked import read_worked, with_worked

ROWS = [
    {"problem": "2 + 3?", "solution": "2 + 3 is 5.", "answer": "5"},
    {"problem": "no solution", "answer": "1"},
    {"problem": "4 + 4?", "solution": "4 + 4 is 8.", "answer": "8"},
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_rows_with_a_solution_become_one_text(rows: Path) -> None:
    text = read_worked(rows, 2)
    assert (
        text == "Problem: 2 + 3?\nSolution: 2 + 3 is 5.\nAnswer: 5\n\nProblem: 4 + 4?\nSolution: 4 + 4 is 8.\nAnswer: 8"
    )


def test_too_few_rows_and_bad_ones_are_named(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 worked problems, and 3 are wanted"):
        read_worked(rows, 3)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"problem": "2 + 3?", "solution": "5"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        read_worked(bad, 1)
    with pytest.raises(InputError, match="there is no file"):
        read_worked(tmp_path / "none.jsonl", 1)


def test_they_stand_in_front_of_the_problem() -> None:
    (problem,) = with_worked([Problem(id="1", inputs={"problem": "2 + 2?"}, answer="4")], "worked")
    assert list(problem.inputs.items()) == [("examples", "worked"), ("problem", "2 + 2?")]
    with pytest.raises(InputError, match="of its own"):
        with_worked([problem], "worked")
