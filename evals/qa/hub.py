"""Rows of the Hugging Face hub's copies as rows of our own files, which `reasonflow.evals.qa.reading` reads.

Each function takes a row in the form of its repository and raises KeyError, TypeError or ValueError for another.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote


def hotpotqa(row: Mapping[str, Any]) -> dict[str, Any]:
    """HotpotQA, and 2WikiMultihopQA in its form: titled lists of sentences, supporting facts by title and number."""
    facts = _pairs(row["supporting_facts"], "title", "sent_id")
    supporting = {title for title, _ in facts}
    passages = [
        {
            "title": title,
            "text": " ".join(map(str.strip, sentences)),
            "supporting": title in supporting,
        }
        for title, sentences in _pairs(row["context"], "title", "sentences")
    ]
    made = {
        "question": row["question"],
        "answers": [row["answer"]],
        "passages": passages,
        "supporting_facts": facts,
        "hops": len(supporting),
        "type": row.get("type"),
    }
    # 2WikiMultihopQA's triples; its copies may lack them.
    triples = row.get("evidences") or ()
    return made | {"decomposition": [{"triple": list(triple)} for triple in triples]}


def musique(row: Mapping[str, Any]) -> dict[str, Any]:
    """MuSiQue: numbered paragraphs, and single-hop questions that name theirs."""
    steps = [
        {"question": step["question"], "answer": step["answer"], "support_idx": step["paragraph_support_idx"]}
        for step in row["question_decomposition"]
    ]
    passages = [
        {"title": entry["title"], "text": entry["paragraph_text"], "supporting": entry["is_supporting"]}
        for entry in sorted(row["paragraphs"], key=lambda entry: int(entry["idx"]))
    ]
    return {
        "question": row["question"],
        "answers": [row["answer"], *(row.get("answer_aliases") or ())],
        "passages": passages,
        "decomposition": steps,
        "hops": len(steps),
        "type": str(row["id"]).partition("__")[0],
    }


def fanoutqa(row: Mapping[str, Any]) -> dict[str, Any]:
    """FanOutQA: answers of any JSON type, a tree of questions with their pages."""
    return {"question": row["question"], "answers": [row["answer"]], "decomposition": row["decomposition"]}


def frames(row: Mapping[str, Any]) -> dict[str, Any]:
    """FRAMES: the addresses of Wikipedia's pages, a Python list in a string."""
    titles = list(dict.fromkeys(map(page_title, ast.literal_eval(row["wiki_links"]))))
    return {
        "question": row["Prompt"],
        "answers": [row["Answer"]],
        "evidence_titles": titles,
        "hops": len(titles),
        "type": row.get("reasoning_types"),
    }


def bamboogle(row: Mapping[str, Any]) -> dict[str, Any]:
    """Bamboogle: two hops each, nothing annotated."""
    return {"question": row["Question"], "answers": [row["Answer"]], "hops": 2}


def page_title(address: str) -> str:
    """The title of a Wikipedia page: Ada Lovelace of `https://en.wikipedia.org/wiki/Ada_Lovelace#Work`."""
    page = address.strip().partition("#")[0].partition("?")[0].rstrip("/")
    return unquote(page.partition("/wiki/")[2] or page.rpartition("/")[2]).replace("_", " ")


def _pairs(value: Any, first: str, second: str) -> list[tuple[Any, Any]]:
    """Pairs, which `datasets` keeps as two lists by name, and JSON files as a list."""
    pairs: Iterable[Any] = zip(value[first], value[second], strict=True) if isinstance(value, Mapping) else value
    return [(one, other) for one, other in pairs]
