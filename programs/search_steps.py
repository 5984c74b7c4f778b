"""Sub-questions of a question, and which of them need another one's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reasonflow.errors import InputError

_LINE = re.compile(r"^\s*(?:step\s+)?#?(\d{1,3})\s*[.):]\s*(\S.*?)\s*$", re.IGNORECASE)
_REFERENCE = re.compile(r"#(\d{1,3})")


class Step(NamedTuple):
    """One sub-question."""

    question: str
    """`#n` in it stands for the answer to step n, from 1."""
    needs: tuple[int, ...] = ()
    """Places of the steps that must be answered first, from 0."""


def read_steps(text: str) -> tuple[list[Step], list[str]]:
    """The numbered lines of a plan, and what is wrong with it. No text makes it raise.

    A step needs those before it that it names as `#n`. A number that no earlier line has is taken out of the question.
    """
    steps: list[Step] = []
    faults: list[str] = []
    places: dict[int, int] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        number, question = int(found[1]), found[2]
        named = dict.fromkeys(int(each) for each in _REFERENCE.findall(question))
        faults += [f"step {number} names #{each}, which is not before it" for each in named if each not in places]
        # Numbers are counted anew: a plan may skip some, or have one twice.
        question = " ".join(_REFERENCE.sub(lambda each: _renamed(int(each[1]), places), question).split())
        if question:
            steps.append(Step(question, tuple(dict.fromkeys(places[each] for each in named if each in places))))
            places[number] = len(steps) - 1
    return steps, faults


def _renamed(number: int, places: Mapping[int, int]) -> str:
    return f"#{places[number] + 1}" if number in places else ""


def given_steps(rows: Any) -> list[Step]:
    """Steps that are there: `{"question": ..., "needs": [numbers from 0]}`. Raises InputError for anything else."""
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise _bad(rows)
    steps: list[Step] = []
    for row in rows:
        question, needs = (row.get("question"), row.get("needs", ())) if isinstance(row, Mapping) else (None, ())
        whole = isinstance(needs, Sequence) and all(type(each) is int and 0 <= each < len(rows) for each in needs)
        if not isinstance(question, str) or not question.strip() or not whole:
            raise _bad(row)
        steps.append(Step(question, tuple(needs)))
    return steps


def filled(step: Step, answers: Mapping[int, str]) -> str:
    """The sub-question with the answers in place of their numbers. answers: by place, from 0."""
    return _REFERENCE.sub(lambda each: answers.get(int(each[1]) - 1, each[0]), step.question)


def _bad(found: Any) -> InputError:
    return InputError(
        f"{found!r:.80} is no list of sub-questions",
        why='each is {"question": "...", "needs": [places of others, from 0]}',
        fix='give for example [{"question": "Who wrote it?"}, {"question": "When was #1 born?", "needs": [0]}]',
    )
