"""Recall over rows made up so that every share is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reasonflow.cli.bench import app
from reasonflow.errors import InputError
from reasonflow.evals.performance.recall import measure_recall, questions
from reasonflow.programs.retrieval import Passage

BRIDGE = {
    "question": "Who was born where the comet fell?",
    "passages": [
        {"title": "Comet", "text": "The comet fell near Ulmstadt.", "supporting": True},
        {"title": "Ulmstadt", "text": "Berta Zorn is a native of it.", "supporting": True},
        {"title": "Other", "text": "Nobody needs this.", "supporting": False},
    ],
    "decomposition": [
        {"question": "Near what did the comet fall?", "answer": "Ulmstadt", "support_idx": 0},
        {"question": "Who is a native of #1 ?", "answer": "Berta Zorn", "support_idx": 1},
    ],
}
TRIPLES = {
    "question": "Which is larger?",
    "passages": [
        {"title": "Lake Aa", "text": "It has an area of two.", "supporting": True},
        {"title": "Lake Bb", "text": "Three are its area.", "supporting": True},
    ],
    "decomposition": [{"triple": ["lake aa", "area", "two"]}, {"triple": ["Lake Cc", "area", "three"]}],
}
PLAIN = {"question": "native", "passages": BRIDGE["passages"]}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


class Exact:
    """Finds the passages that hold every word of a query."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.asked: list[str] = []

    def find(self, query: str, k: int) -> Sequence[Passage]:
        self.asked.append(query)
        words = set(query.lower().rstrip(" ?").split())
        return [each for each in self.passages if words <= set(f"{each.title} {each.text}".lower().split())][:k]


def test_hops_are_asked_with_earlier_answers_and_count_for_their_own_passage(tmp_path: Path) -> None:
    (row,) = questions(lines(tmp_path / "rows.jsonl", BRIDGE))
    comet, town, _ = row.passages
    assert row.supporting == {comet.id, town.id}
    assert [(hop.query, hop.supporting) for hop in row.hops] == [
        ("Near what did the comet fall?", comet.id),
        ("Who is a native of Ulmstadt ?", town.id),
    ]


def test_triples_are_asked_about_their_page_where_it_is_there(tmp_path: Path) -> None:
    (row,) = questions(lines(tmp_path / "rows.jsonl", TRIPLES))
    assert [(hop.query, hop.supporting) for hop in row.hops] == [("lake aa area", row.passages[0].id)]


def test_shares_are_counted_by_hand(tmp_path: Path) -> None:
    made: list[Exact] = []

    def build(passages: list[Passage]) -> Exact:
        made.append(Exact(passages))
        return made[-1]

    files = [lines(tmp_path / "hops.jsonl", TRIPLES), lines(tmp_path / "plain.jsonl", PLAIN, PLAIN)]
    corpus = lines(tmp_path / "corpus.jsonl", {"text": "more"}, {"title": "Lake Aa ", "text": "It has an area of two."})
    measured = measure_recall(files, [corpus], build)
    assert measured.indexed == len(made[0].passages) == 6  # two of the lakes, three about the comet, one of the corpus
    assert measured.figures() == {"hops.question": 0.0, "hops.hop": 1.0, "hops.together": 0.5, "plain.question": 0.5}
    assert made[0].asked == ["Which is larger?", "lake aa area", "native", "native"]


def test_the_command_measures_bm25(tmp_path: Path) -> None:
    file = lines(tmp_path / "hops.jsonl", BRIDGE)
    result = CliRunner().invoke(app, ["recall", str(file), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["figures"] == {"hops.question": 0.5, "hops.hop": 1.0, "hops.together": 1.0}
    assert (told["indexed"], told["questions"]) == (3, {"hops": 1})
    assert "hops" in CliRunner().invoke(app, ["recall", str(file)]).stdout


@pytest.mark.parametrize(
    "row",
    [
        {"question": "x"},
        {"passages": []},
        {**PLAIN, "question": 3},
        {**PLAIN, "passages": [{"title": "T"}]},
        {**PLAIN, "passages": "x"},
        {**PLAIN, "passages": [{"title": None, "text": "x", "supporting": True}]},
        {**BRIDGE, "decomposition": [{"question": "#3", "answer": "x", "support_idx": 0}]},
        {**BRIDGE, "decomposition": [{"question": "x", "answer": "x", "support_idx": 9}]},
        {**BRIDGE, "decomposition": [{"triple": ["x"]}]},
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"rows.jsonl:2: no question with its passages"):
        list(questions(lines(tmp_path / "rows.jsonl", PLAIN, row)))


def test_two_files_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = [lines(tmp_path / "rows.jsonl", PLAIN), lines(tmp_path / "a" / "rows.jsonl", PLAIN)]
    with pytest.raises(InputError, match="two files are called 'rows'"):
        measure_recall(files)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        measure_recall([tmp_path / "missing.jsonl"])
