"""What a searching model is told: the form of its queries, and worked examples for models that are not trained for it.

Names and numbers of the examples are made up, so that they answer no question of a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import dspy

from reasonflow.programs.query_blocks import BEGIN, END, RESULTS, RESULTS_END, THINK, THINK_END
from reasonflow.prompts.styles import REASONING, answer_field

FINAL = "**Final Information**"
"""What whoever condenses pages writes in front of what counts."""
MANY = f"""You can search. Say what you need to know first. Then write queries, each on a line of its own behind `;`
between these marks, and stop:

{BEGIN}
first query;
second query
{END}

Queries that do not need each other's results go into one block: they are searched at the same time. The results follow;
read them, and search again for what is still missing. When nothing is missing, give the answer."""
ONE = f"""You can search. Say what you need to know first. Then write one query between these marks, and stop:

{BEGIN}
query
{END}

The result follows; read it, and search again for what is still missing. When nothing is missing, give the answer."""
CONDENSE = f"""Read the pages for what they say about the query, and for what helps with where the earlier reasoning is
going. Be accurate and brief. Write {FINAL} and behind it what you found, or that nothing in the pages helps."""


class _Turn(NamedTuple):
    """Some queries that do not need each other's results: what is missing, then each with its note."""

    thought: str
    found: tuple[tuple[str, str], ...]


class _Example(NamedTuple):
    """A question, what is searched for it, and how it ends."""

    question: str
    turns: tuple[_Turn, ...]
    last: str
    answer: str


_EXAMPLES = (
    _Example(
        "Who is older, the director of The Glass Orchard or the director of Nine Ferries?",
        (
            _Turn(
                "I need the directors of both films.",
                (
                    ("director of The Glass Orchard", "The Glass Orchard (1987) was directed by Ilka Varnay."),
                    ("director of Nine Ferries", "Nine Ferries is a film by Tomas Brelle."),
                ),
            ),
            _Turn(
                "The directors are Ilka Varnay and Tomas Brelle. I need when both were born.",
                (
                    ("Ilka Varnay born", "Ilka Varnay was born on 3 May 1941."),
                    ("Tomas Brelle born", "Tomas Brelle (born 12 January 1950) is a film maker."),
                ),
            ),
        ),
        "1941 is before 1950, so the director of The Glass Orchard is older.",
        "Ilka Varnay",
    ),
    _Example(
        "In which country is the town where the composer of the opera Saltmarsh died?",
        (
            _Turn(
                "I need the composer of Saltmarsh.",
                (("composer of the opera Saltmarsh", "Saltmarsh is an opera by Edda Quill."),),
            ),
            _Turn(
                "The composer is Edda Quill. I need where Edda Quill died.",
                (("Edda Quill died", "Edda Quill died in Orsvik in 1902."),),
            ),
            _Turn(
                "Edda Quill died in Orsvik. I need the country of Orsvik.",
                (("Orsvik country", "Orsvik is a town on the coast of Norway."),),
            ),
        ),
        "Orsvik is in Norway.",
        "Norway",
    ),
)


class _Reading(NamedTuple):
    """A query, what was found for it, and the note that is made of that."""

    query: str
    pages: tuple[str, ...]
    note: str


_READINGS = (
    _Reading(
        "Ilka Varnay born",
        (
            "Varnay\nVarnay is a surname. People of that name are a painter, a judge and a film director.",
            "Ilka Varnay\nIlka Varnay (3 May 1941 – 1998) directed The Glass Orchard. She lived in Pest.",
        ),
        "Ilka Varnay was born on 3 May 1941.",
    ),
    _Reading(
        "composer of the opera Saltmarsh",
        (
            "Saltmarsh\nSaltmarsh is an opera in three acts by Edda Quill, first given in 1888.",
            "The Salt Road\nThe Salt Road is a symphonic poem by Per Aune.",
        ),
        "Saltmarsh is an opera by Edda Quill.",
    ),
)


def readings() -> list[dict[str, Any]]:
    """Worked examples as demos of the site that condenses pages."""
    return [
        {
            "query": each.query,
            "pages": "\n\n".join(f"Page {number}: {page}" for number, page in enumerate(each.pages, 1)),
            "reasoning": f"Step 1: {each.query}",
            "note": f"{FINAL}\n{each.note}",
        }
        for each in _READINGS
    ]


def examples(task: type[dspy.Signature], *, sequential: bool) -> list[dict[str, Any]]:
    """Worked examples as demos of the site that searches, whose question is the signature's first input.

    sequential: one query a turn: each turn of several is as many turns.
    """
    asked, answered = next(iter(task.input_fields)), answer_field(task)
    return [
        {asked: each.question, REASONING: "".join(_written(each, sequential=sequential)), answered: each.answer}
        for each in _EXAMPLES
    ]


def _written(example: _Example, *, sequential: bool) -> Iterator[str]:
    for turn in example.turns:
        for place, found in enumerate([(each,) for each in turn.found] if sequential else [turn.found]):
            thought = f"I still need this: {found[0][0]}." if place else turn.thought
            yield f"{THINK}\n{thought}\n{THINK_END}\n\n{BEGIN}\n"
            yield ";\n".join(query for query, _ in found)
            yield f"\n{END}\n\n{results(f'{query}: {note}' for query, note in found)}\n\n"
    yield f"{THINK}\n{example.last}\n{THINK_END}\n\n\\boxed{{{example.answer}}}"


def results(lines: Iterable[str]) -> str:
    """The block of results, a line a query."""
    return f"{RESULTS}\n" + "\n".join(lines) + f"\n{RESULTS_END}"
