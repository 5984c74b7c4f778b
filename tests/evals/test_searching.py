"""What an evaluation of a searching program needs: a corpus, a line a run, figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.dataset import read_problems
from reasonflow.evals.qa.reading import question_of
from reasonflow.evals.searching import FILE, corpus_of, index_of, search_of
from reasonflow.programs.query_blocks import BEGIN, END, RESULTS

ROW = {
    "id": "q1",
    "question": "Which river runs through Corm?",
    "answers": ["Tay"],
    "passages": [
        {"title": "Corm", "text": "The Tay runs through Corm.", "supporting": True},
        {"title": "Dole", "text": "The Esk runs through Dole.", "supporting": False},
    ],
    "supporting_facts": [["Corm", 0]],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "id": "q2"}) + "\n")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    rows = [{"id": "a", "title": "Corm", "text": "The Tay runs through Corm."}, {"id": "b", "text": "A mill."}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_each_content_is_in_the_corpus_once(data: Path, corpus: Path) -> None:
    found = list(corpus_of(read_problems(data, question_of), [corpus, corpus]))
    assert [passage.text for passage in found] == [
        "The Tay runs through Corm.",
        "A mill.",
        "The Esk runs through Dole.",
    ]
    assert len({passage.id for passage in found}) == 3


def test_equal_ids_of_two_files_do_not_clash(tmp_path: Path, corpus: Path) -> None:
    other = tmp_path / "more.jsonl"
    other.write_text(json.dumps({"id": "a", "text": "Another page."}) + "\n")
    found = list(corpus_of([], [corpus, other]))
    assert len({passage.id for passage in found}) == len(found) == 3


def test_nothing_to_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to search"):
        index_of([], (), tmp_path / "index")


def test_an_index_is_made_once(data: Path, tmp_path: Path) -> None:
    problems = read_problems(data, question_of)

    def files() -> dict[Path, int]:
        found = (path for path in (tmp_path / "index").rglob("*") if path.is_file() and path.name != ".lock")
        return {path: path.stat().st_mtime_ns for path in found}

    first = index_of(problems, (), tmp_path / "index")
    made = files()
    assert index_of(problems, (), tmp_path / "index").digest == first.digest
    assert files() == made


def test_steps_of_a_plan_count_by_their_level() -> None:
    steps = [{"question": "a", "level": 1, "titles": ["A"]}, {"question": "b", "level": 2, "titles": []}]
    found = search_of({"turns": 4, "tokens": 9, "searches": steps})
    assert [[query.text for query in turn] for turn in found.turns] == [[], ["a"], ["b"], []]
    assert (found.calls, found.tokens) == (2, 9)


def model(prompt: str, seed: int | None, index: int) -> str:
    if "Read the pages" in prompt:
        return "the Tay"
    return r"\boxed{Tay}" if RESULTS in prompt else f"{BEGIN}\nriver Corm\n{END}"


def test_the_command_says_what_was_searched(
    data: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reasonflow.cli.main import app, register

    register()

    def vllm(name: str, **options: Any) -> Any:
        return rf.scripted(model, model=name)

    monkeypatch.setattr(rf, "vllm", vllm)
    out = tmp_path / "run"
    asked = ["eval", "hybrid_search", "--benchmark", "2wiki", "--data", str(data), "--corpus", str(corpus)]
    done = CliRunner().invoke(app, [*asked, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["accuracy"] == 1.0
    figures = {name: each["value"] for name, each in found["figures"].items()}
    assert (figures["f1"], figures["calls"], figures["turns"], figures["never_searched"]) == (1.0, 1.0, 2.0, 0.0)
    assert figures["coverage"] == 1.0
    rows = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
    assert [row["searches"][0]["query"] for row in rows] == ["river Corm"] * 2
    refused = CliRunner().invoke(app, ["eval", "pdr", "--corpus", str(corpus), "--data", str(data)])
    assert isinstance(refused.exception, InputError)
    assert "pdr searches nothing" in str(refused.exception)


@pytest.mark.engine
def test_an_engine_starts_beside_an_index(data: Path, tmp_path: Path) -> None:
    # bm25s imports numba, whose modules vLLM 0.32 on a CPU stumbles over: see reasonflow/backends/vllm_versions.py.
    command = [sys.executable, "-m", "reasonflow.cli", "eval", "hybrid_search", "--benchmark", "2wiki", "--json"]
    asked = [*command, "--data", str(data), "--limit", "1", "--max-tokens", "32", "--out", str(tmp_path / "run")]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "never_searched" in json.loads(done.stdout)["figures"]
