"""Rows of function-calling sets as problems: the question and the functions as JSON are the inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.calls.structure import Malformed, read_list
from reasonflow.evals.calls.tools import choose
from reasonflow.evals.dataset import Problem

CALLS = """Say which of the functions to call, with which arguments, so that everything the question asks for is done.
The calls are a JSON list with an object for each call: [{"name": "...", "arguments": {"...": ...}}]. Leave out optional
arguments that the question says nothing about."""
TOOLS = """Choose the tools that the question takes, all of them and no other.
They are a JSON list with an object for each: [{"tool": "...", "api": "..."}]."""


def calls_of(row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
    """A row of the Berkeley Function-Calling Leaderboard whose answer is a list of calls, in `calls`.

    It has `functions`, `ground_truth`, and the question as `messages`: one turn of one message or more. The official
    files have them as `function` and `question`, and the ground truth in a file of its own.
    Raises InputError that starts with `where`.
    """
    truth = row.get("ground_truth")
    if not isinstance(truth, list) or not truth or not all(map(_is_gold, truth)):
        raise _wrong(where, "ground_truth", 'a list of {"function": {"argument": [accepted values]}}')
    return _problem(
        row,
        question=_question(row.get("messages", row.get("question")), where),
        functions=row.get("functions", row.get("function")),
        where=where,
        id=str(row.get("id") or default_id),
        source=source,
        output="calls",
        instructions=CALLS,
        answer=json.dumps(truth, ensure_ascii=False),
        kind="calls",
        grading={"ground_truth": truth},
    )


def tools_of(row: Mapping[str, Any], *, where: str, default_id: str, source: str) -> Problem:
    """A row of StableToolBench whose answer is the relevant tools, in `tools`. They are not run.

    It has `question`, `functions` with `tool` and `api` each, and `relevant`, pairs of these. Raises InputError that
    starts with `where`.
    """
    relevant = row.get("relevant")
    named = json.dumps(relevant, ensure_ascii=False)
    try:
        known = bool(read_list(named)) and choose(named, relevant or ()).equal
    except Malformed:
        known = False
    if not known or relevant is None:
        raise _wrong(where, "relevant", "a list of [tool, api]")
    return _problem(
        row,
        question=_question(row.get("question"), where),
        functions=row.get("functions"),
        where=where,
        id=str(row.get("id") or default_id),
        source=source,
        output="tools",
        instructions=TOOLS,
        answer=named,
        kind="tools",
        grading={"relevant": relevant},
    )


def _problem(
    row: Mapping[str, Any], *, question: str, functions: Any, where: str, source: str, **fields: Any
) -> Problem:
    if not isinstance(functions, list) or not functions or not all(isinstance(each, dict) for each in functions):
        raise _wrong(where, "functions", "a list of objects that describe a function each")
    return Problem(
        inputs={"question": question, "functions": json.dumps(functions, ensure_ascii=False)},
        source=str(row.get("source") or source),
        **fields,
    )


def _question(given: Any, where: str) -> str:
    """The text of a question, or of the messages of its only turn."""
    if isinstance(given, str) and given.strip():
        return given
    turns: Sequence[Any] = given if isinstance(given, list) else ()
    messages = turns[0] if len(turns) == 1 and isinstance(turns[0], list) else ()
    texts = [each["content"] for each in messages if isinstance(each, dict) and isinstance(each.get("content"), str)]
    if len(texts) < len(messages) or not any(text.strip() for text in texts):
        raise _wrong(where, "messages", "one turn, a list of messages with a text as their content")
    return "\n\n".join(texts)


def _is_gold(gold: Any) -> bool:
    return (
        isinstance(gold, dict)
        and len(gold) == 1
        and all(
            isinstance(arguments, dict) and all(isinstance(accepted, list) for accepted in arguments.values())
            for arguments in gold.values()
        )
    )


def _wrong(where: str, name: str, form: str) -> InputError:
    return InputError(f"{where}: {name!r} is missing or of another form", fix=f"write {form}")
