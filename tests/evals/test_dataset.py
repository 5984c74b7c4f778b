"""Reading problems from JSON lines: the fields, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals import dataset
from reasonflow.evals.dataset import Problem, digest, read_problems, read_rows

GOOD = {"id": "a", "problem": "2 + 3 = ?", "answer": "5", "source": "made up"}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "problems.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_problems(path)
    return str(caught.value)


def test_a_math_row_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path, {**GOOD, "level": 3, "solution": "..."}))
    assert problem == Problem(id="a", inputs={"problem": "2 + 3 = ?"}, answer="5", source="made up")


def test_a_question_with_several_answers_is_graded_as_text(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path, {"id": "q", "question": "Who?", "answers": ["Ada", "A. Lovelace", 7]}))
    assert problem.inputs == {"question": "Who?"}
    assert (problem.kind, problem.answer, problem.aliases) == ("text", "Ada", ("A. Lovelace", "7"))


def test_numbers_with_a_target_make_a_countdown(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path, {**GOOD, "numbers": [2, 3], "target": 5}))
    assert problem.kind == "countdown"
    assert problem.grading == {"numbers": [2, 3], "target": 5}


def test_words_are_marked_by_numeric_false(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path, {**GOOD, "answer": "Mrs. Hilt", "numeric": False}))
    assert problem.kind == "text"


def test_an_answer_may_be_a_number_and_an_id_may_be_left_out(tmp_path: Path) -> None:
    (problem,) = read_problems(write(tmp_path, "\n", {"problem": "1 + 1", "answer": 2}))
    assert (problem.id, problem.answer, problem.source) == ("line-2", "2", "problems")


def test_a_byte_order_mark_and_a_missing_last_line_break_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n" + json.dumps({**GOOD, "id": "b"}).encode())
    assert [problem.id for problem in read_problems(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"id": "x", \n', "not valid JSON"),
        ("[1, 2]\n", "a JSON array instead of an object"),
        ('"text"\n', "a JSON string instead of an object"),
        ("null\n", "a JSON null instead of an object"),
        ("[" * 100_000 + "\n", "not valid JSON"),
        ('{"id": "x", "answer": "1"}\n', "'problem' is missing"),
        ('{"id": "x", "problem": "1 + 1"}\n', "'answer' is missing"),
        ('{"id": "x", "problem": "1 + 1", "answer": ""}\n', "'answer' is empty"),
        ('{"id": "x", "problem": "1 + 1", "answer": null}\n', "'answer' is empty"),
        ('{"id": "x", "problem": "1 + 1", "answer": [1]}\n', "'answer' is a JSON array"),
        ('{"id": "x", "problem": 3.5, "answers": []}\n', "'answers' must be a list"),
        ('{"id": "a", "problem": "again", "answer": "1"}\n', "'a' occurs twice"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: str, says: str) -> None:
    path = write(tmp_path, GOOD, "\n", row)
    message = error_of(path)
    assert message.startswith(f"{path}:3: ")
    assert says in message
    assert "fix: " in message


def test_a_duplicate_names_the_line_of_the_first(tmp_path: Path) -> None:
    assert "line 1 has it too" in error_of(write(tmp_path, GOOD, {**GOOD, "problem": "other"}))


@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_an_empty_file_says_what_a_line_looks_like(tmp_path: Path, content: str) -> None:
    message = error_of(write(tmp_path, content))
    assert "holds no problems" in message
    assert '"problem"' in message


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    assert "there is no file" in error_of(tmp_path / "nothing.jsonl")
    assert "cannot read" in error_of(tmp_path)


def test_wrong_encoding_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "b", "problem": "caf\xe9", "answer": "1"}\n')
    assert error_of(path).startswith(f"{path}:2: not UTF-8")


def test_a_huge_line_is_refused_without_being_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(GOOD).encode() + b"\n")
        file.truncate(200 << 20)  # sparse: no line break for 200 MiB
    import tracemalloc

    tracemalloc.start()
    try:
        assert error_of(path).startswith(f"{path}:2: the line is longer than 1 MiB")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), max_size=8))
def test_every_object_that_is_written_is_read_with_its_line(rows: list[dict[str, Any]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), *rows)
        assert list(read_rows(path)) == list(enumerate(rows, 1))


def test_the_digest_covers_what_is_asked_and_what_is_right() -> None:
    one = Problem(id="a", inputs={"problem": "x"}, answer="1")
    assert digest([one]) == digest([Problem(id="a", inputs={"problem": "x"}, answer="1", source="elsewhere")])
    others = [
        Problem(id="b", inputs={"problem": "x"}, answer="1"),
        Problem(id="a", inputs={"problem": "y"}, answer="1"),
        Problem(id="a", inputs={"problem": "x"}, answer="2"),
        Problem(id="a", inputs={"problem": "x"}, answer="1", aliases=("one",)),
    ]
    assert len({digest([problem]) for problem in (one, *others)}) == 5
