"""Benchmarks by name: local folders in the official schemas go through the same code as the hub's datasets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals import benchmarks
from reasonflow.evals.benchmark import to_problems
from reasonflow.evals.benchmarks import BENCHMARKS, DEFAULT, load, names
from reasonflow.evals.qa.table import QUESTIONS

ROWS: Mapping[str, tuple[dict[str, Any], str, str]] = {
    # benchmark: (a row in the official schema, the problem it is, its answer)
    "gsm8k": (
        {"question": "How much?", "answer": "She makes 2,000 * <<2*3=6>>...\n#### 12,345"},
        "How much?",
        "12345",
    ),
    "gsm8k_train": ({"question": "How many?", "answer": "So.\n#### -7"}, "How many?", "-7"),
    "math500": (
        {
            "problem": "Find $x$.",
            "solution": "...",
            "answer": "\\frac{1}{2}",
            "subject": "Algebra",
            "level": 2,
            "unique_id": "test/algebra/1.json",
        },
        "Find $x$.",
        "\\frac{1}{2}",
    ),
    "aime24": (
        {"id": 60, "problem": "Every morning", "solution": "...", "answer": "025", "url": "", "year": "2024"},
        "Every morning",
        "25",
    ),
    "aime25": ({"problem": "Find the sum", "answer": "070", "id": "0"}, "Find the sum", "70"),
    "svamp": (
        {
            "ID": "chal-1",
            "Body": "There are 8 apples.",
            "Question": "How many?",
            "Equation": "( 8.0 )",
            "Answer": "8.0",
            "Type": "Addition",
            "question_concat": "...",
        },
        "There are 8 apples. How many?",
        "8",
    ),
    "multiarith": ({"question": " How many? ", "final_ans": "30"}, "How many?", "30"),
}


def local(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    """Replace the benchmark's repository by a folder with a file per split."""
    for split in BENCHMARKS[name].split.split("+"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    # A folder has no named configurations.
    table = {**BENCHMARKS, name: replace(BENCHMARKS[name], repository=str(folder), config=None)}
    monkeypatch.setattr(benchmarks, "BENCHMARKS", table)


def test_every_benchmark_has_a_row_here() -> None:
    assert set(ROWS) == set(BENCHMARKS) - set(QUESTIONS), "those of question answering have tests of their own"
    assert set(QUESTIONS) < set(BENCHMARKS)
    assert all(entry.licence for entry in BENCHMARKS.values())


@pytest.mark.parametrize("name", ROWS)
def test_the_official_schema_becomes_problems(name: str) -> None:
    row, problem, answer = ROWS[name]
    (made,) = to_problems(name, BENCHMARKS[name], [row])
    assert (made.inputs, made.answer) == ({"problem": problem}, answer)
    assert made.id.startswith(f"{name}-")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves its own files open
@pytest.mark.parametrize("name", ["gsm8k", "svamp"])
def test_a_folder_loads_through_datasets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, problem, answer = ROWS[name]
    rows = [dict(row), {**row}]
    if "ID" in row:
        rows[1]["ID"] = "chal-2"
    local(name, tmp_path, monkeypatch, rows[: 1 if "+" in BENCHMARKS[name].split else 2])
    if name == "svamp":  # train+test: both splits count
        (tmp_path / "test.jsonl").write_text(json.dumps(rows[1]) + "\n", encoding="utf-8")
    made = load(name)
    assert [p.inputs["problem"] for p in made] == [problem] * 2
    assert [p.answer for p in made] == [answer] * 2
    assert len({p.id for p in made}) == 2


def test_without_the_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match="--data") as caught:
        load("gsm8k")
    assert "openai/gsm8k" in caught.value.what
    assert caught.value.why == "ConnectionError: Couldn't reach the hub"


def test_a_dataset_that_changed_its_columns_is_named() -> None:
    with pytest.raises(InputError, match="no column 'answer'"):
        list(to_problems("gsm8k", BENCHMARKS["gsm8k"], [{"question": "?", "solution": "1"}]))


def test_an_unknown_benchmark_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'gsm8k'"):
        load("gsm8")


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match=f"limit={limit}"):
        load(limit=limit)


def test_a_file_with_a_benchmark_is_read_as_that_benchmark_is(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {"id": "a", "question": "How much?", "answer": "So.\n#### 1,234"},
        {"id": "b", "problem": "?", "answer": "7"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [(p.id, p.answer, p.kind) for p in load("gsm8k", data=path)] == [("a", "1234", "math"), ("b", "7", "math")]
    assert [p.id for p in load("gsm8k", data=path, limit=1)] == ["a"]
    assert load(data=path)[0].answer == "So.\n#### 1,234", "alone it is read as it stands"
    path.write_text(json.dumps(rows[0]) + "\n" + json.dumps({"id": "b", "answer": "7"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"p\.jsonl:2: the field 'problem' is missing"):
        load("gsm8k", data=path)
    with pytest.raises(UnknownName, match="did you mean 'gsm8k'"):
        load("gsm8", data=path)


@pytest.mark.parametrize("name", [DEFAULT, "rg:gcd"])
def test_a_generated_benchmark_and_a_file_exclude_each_other(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="either"):
        load(name, data=tmp_path / "x.jsonl")


def test_a_limit_takes_the_first_problems_and_a_seed_chooses(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), "problem": "?", "answer": "1"}) + "\n" for i in range(50)))
    assert [p.id for p in load(data=path, limit=3)] == ["0", "1", "2"]
    chosen = [p.id for p in load(data=path, limit=5, seed=1)]
    assert (
        chosen == [p.id for p in load(data=path, limit=5, seed=1)] != [p.id for p in load(data=path, limit=5, seed=2)]
    )
    assert chosen == sorted(chosen, key=int)
    assert len(load(data=path, limit=500)) == 50


def test_the_default_needs_no_download_and_comes_first() -> None:
    assert names()[0] == DEFAULT
    problems = load(limit=5)
    assert len(problems) == 5
    assert [p.source for p in problems] == [DEFAULT] * 5
    assert problems == load(DEFAULT, limit=5)
