"""Benchmarks of question answering: rows of the hub and rows of our files become the same problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.benchmark import to_problems
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.qa.hub import page_title
from reasonflow.evals.qa.table import QUESTIONS

PASSAGES = [
    {"title": "Nick Park", "text": "He is English. He made it.", "supporting": True},
    {"title": "Gromit", "text": "A dog.", "supporting": False},
    {"title": "Creature Comforts", "text": "A comedy.", "supporting": True},
]
HOTPOT: dict[str, Any] = {
    "id": "5a71",
    "question": "Who made it?",
    "answer": "Nick Park",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": {"title": ["Nick Park", "Creature Comforts"], "sent_id": [1, 0]},
    "context": {
        "title": ["Nick Park", "Gromit", "Creature Comforts"],
        "sentences": [["He is English.", " He made it."], ["A dog."], ["A comedy."]],
    },
}
OURS: dict[str, Any] = {
    "question": "Who made it?",
    "answers": ["Nick Park"],
    "passages": PASSAGES,
    "supporting_facts": [["Nick Park", 1], ["Creature Comforts", 0]],
    "hops": 2,
    "type": "bridge",
}
TRIPLES = [["Creature Comforts", "creator", "Nick Park"], ["Nick Park", "born", "1958"]]
TREE = [
    {
        "id": "a",
        "question": "Films?",
        "answer": ["Avatar"],
        "depends_on": [],
        "decomposition": [],
        "evidence": {"title": "Highest-grossing films", "pageid": 1, "revid": 2, "url": "https://x"},
    }
]

ROWS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # benchmark: (a row in the form of its repository, the same question in the form of our files)
    "hotpotqa": (HOTPOT, {"id": "hotpotqa-5a71", **OURS}),
    "2wiki": (
        # Pairs in lists, as the authors' own files have them.
        {
            **HOTPOT,
            "supporting_facts": [["Nick Park", 1], ["Creature Comforts", 0]],
            "context": [[entry["title"], [entry["text"]]] for entry in PASSAGES],
            "evidences": TRIPLES,
        },
        {"id": "2wiki-5a71", **OURS, "decomposition": [{"triple": triple} for triple in TRIPLES]},
    ),
    "musique": (
        {
            "id": "2hop__1_2",
            "question": "Who made it?",
            "answer": "Nick Park",
            "answer_aliases": ["Park"],
            "answerable": True,
            "paragraphs": [
                {
                    "idx": index,
                    "title": entry["title"],
                    "paragraph_text": entry["text"],
                    "is_supporting": entry["supporting"],
                }
                for index, entry in reversed(list(enumerate(PASSAGES)))
            ],
            "question_decomposition": [
                {"id": 7, "question": "Which comedy?", "answer": "Creature Comforts", "paragraph_support_idx": 2},
                {"id": 8, "question": "Who made #1?", "answer": "Nick Park", "paragraph_support_idx": 0},
            ],
        },
        {
            "id": "musique-2hop__1_2",
            "question": "Who made it?",
            "answers": ["Nick Park", "Park"],
            "passages": PASSAGES,
            "decomposition": [
                {"question": "Which comedy?", "answer": "Creature Comforts", "support_idx": 2},
                {"question": "Who made #1?", "answer": "Nick Park", "support_idx": 0},
            ],
            "hops": 2,
            "type": "2hop",
        },
    ),
    "fanoutqa": (
        {"id": "f1", "question": "Films?", "answer": {"Avatar": 1}, "decomposition": TREE, "categories": ["Film"]},
        {"id": "fanoutqa-f1", "question": "Films?", "answers": [{"Avatar": 1}], "decomposition": TREE},
    ),
    "frames": (
        {
            "Prompt": "Whose name?",
            "Answer": "Jane Ballou",
            "reasoning_types": "Multiple constraints",
            "wiki_links": "['https://en.wikipedia.org/wiki/James_Buchanan', "
            "'https://en.wikipedia.org/wiki/AC/DC#History', 'https://en.wikipedia.org/wiki/James_Buchanan']",
        },
        {
            "id": "frames-0",
            "question": "Whose name?",
            "answers": ["Jane Ballou"],
            "evidence_titles": ["James Buchanan", "AC/DC"],
            "hops": 2,
            "type": "Multiple constraints",
        },
    ),
    "bamboogle": (
        {"Question": "Who was president?", "Answer": "james madison"},
        {"id": "bamboogle-0", "question": "Who was president?", "answers": ["james madison"], "hops": 2},
    ),
}


def from_hub(name: str, row: dict[str, Any]) -> Problem:
    (problem,) = to_problems(name, QUESTIONS[name], [row])
    return problem


def from_file(name: str, row: dict[str, Any], folder: Path) -> Problem:
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (problem,) = load(name, data=path)
    return problem


def test_every_benchmark_has_a_row_here() -> None:
    assert set(ROWS) == set(QUESTIONS)
    assert all(entry.licence for entry in QUESTIONS.values())


@pytest.mark.parametrize("name", ROWS)
def test_the_hub_and_a_file_give_the_same_problem(name: str, tmp_path: Path) -> None:
    theirs, ours = ROWS[name]
    made = from_hub(name, theirs)
    assert made == from_file(name, ours, tmp_path)
    assert dict(made.inputs) == {"question": ours["question"]}
    assert made.kind == ("listed" if name == "fanoutqa" else "text")
    assert made.evidence.hops == ours.get("hops")


def test_what_is_annotated_arrives() -> None:
    made = {name: from_hub(name, theirs).evidence for name, (theirs, _) in ROWS.items()}
    assert made["hotpotqa"].titles == ("Nick Park", "Creature Comforts")
    assert [passage.title for passage in made["hotpotqa"].supporting] == ["Nick Park", "Creature Comforts"]
    assert [step.depends_on for step in made["2wiki"].steps] == [(), ("1",)]
    assert made["musique"].by_hop == (("Creature Comforts",), ("Nick Park",))
    assert made["fanoutqa"].titles == ("Highest-grossing films",)
    assert made["frames"].titles == ("James Buchanan", "AC/DC")
    assert made["bamboogle"].titles == ()


@pytest.mark.parametrize("name", ROWS)
def test_a_dataset_of_another_form_is_named(name: str) -> None:
    entry = QUESTIONS[name]
    theirs = ROWS[name][0]
    without = {column: value for column, value in theirs.items() if column != entry.answer}
    with pytest.raises(InputError, match=f"no column '{entry.answer}'"):
        list(to_problems(name, entry, [theirs, without]))
    nested = {"hotpotqa": "context", "2wiki": "context", "musique": "paragraphs", "frames": "wiki_links"}
    if name in nested:
        with pytest.raises(InputError, match=f"row 0 of the benchmark '{name}' is not of the form"):
            from_hub(name, {**theirs, nested[name]: "elsewhere"})


def test_a_file_of_mixed_types_is_read_without_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str]] = []

    def from_cache(repository: str, file: str, **options: str) -> str:
        assert options == {"repo_type": "dataset"}
        asked.append((repository, file))
        return str(tmp_path / "dev.json")

    theirs = ROWS["fanoutqa"][0]
    rows = [theirs, {**theirs, "id": "f2", "answer": 4}, {**theirs, "id": "f3", "answer": ["a", "b"]}]
    (tmp_path / "dev.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_cache)
    assert [problem.grading["answers"] for problem in load("fanoutqa")] == [[{"Avatar": 1}], [4], [["a", "b"]]]
    assert asked == [("zhuexe/fanoutqa", "fanout-final-dev.json")]
    (tmp_path / "dev.json").unlink()
    with pytest.raises(InputError, match="--data FILE"):
        load("fanoutqa")


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("https://en.wikipedia.org/wiki/Ada_Lovelace#Work", "Ada Lovelace"),
        ("https://en.wikipedia.org/wiki/AC/DC", "AC/DC"),
        (" https://en.wikipedia.org/wiki/Diego_L%C3%B3pez?x=1 ", "Diego López"),
        ("https://en.wikipedia.org/wiki/What%3F", "What?"),
        ("https://example.org/pages/Ada_Lovelace/", "Ada Lovelace"),
    ],
)
def test_titles_by_address(address: str, title: str) -> None:
    assert page_title(address) == title
