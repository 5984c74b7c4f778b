"""Query blocks: how a model that searches asks for several things at once (HybridDeepSearcher, arXiv 2508.19113)."""

from __future__ import annotations

from dataclasses import dataclass

BEGIN, END = "<|begin_search_queries|>", "<|end_search_queries|>"
"""Around the queries that a model writes."""
RESULTS, RESULTS_END = "<|begin_search_results|>", "<|end_search_results|>"
"""Around what was found, which the program writes."""
THINK, THINK_END = "<think>", "</think>"
MARKS = (BEGIN, END, RESULTS, RESULTS_END, THINK, THINK_END)
"""What nobody but the model and the program may write: documents and inputs lose them."""
_WHOLE, _LAST = 5, 4
"""Lines of earlier reasoning that are kept as they are, and how many of more than that at the end."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a turn asks for."""

    queries: tuple[str, ...] = ()
    """In order; none where it asks for nothing, or where nobody can tell for what."""
    fault: str = ""
    """Why queries that seem to be there do not count."""


def read_block(text: str) -> Block:
    """The queries in what a model wrote in one turn, by the released parser's rules. No text makes it raise.

    Lines are queries, without the `;` that separates them; a single line is divided at `;`. Two beginnings make no
    query, as does a beginning without an end.
    """
    begins, ends = text.count(BEGIN), text.count(END)
    if not begins and not ends:
        return Block()
    if begins > 1:
        return Block(fault=f"{begins} query blocks begin in one turn: none counts")
    head, _, rest = text.partition(BEGIN)
    if not begins or END in head:
        return Block(fault="a query block ends that has not begun: it does not count")
    inside, closed, _ = rest.partition(END)
    if not closed:
        return Block(fault="a query block is not closed: it does not count")
    lines = [line for line in inside.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = lines[0].split(";")
    queries = tuple(query for line in lines if (query := line.strip(" \t;")))
    return Block(queries) if queries else Block(fault="a query block is empty")


def in_thought(text: str) -> bool:
    """Whether a thought is open at the end of a text."""
    return text.rfind(THINK) > text.rfind(THINK_END)


def abridged(text: str) -> str:
    """Earlier reasoning as whoever condenses pages reads it: lines as numbered steps.

    Of more than five the first and the last four are kept, and those that hold a mark of queries or results; `...`
    stands for the others (the released script's rule).
    """
    steps = [f"Step {number}: {line}" for number, line in enumerate(filter(str.strip, text.splitlines()), 1)]
    if len(steps) <= _WHOLE:
        return "\n\n".join(steps)
    kept: list[str] = []
    for place, step in enumerate(steps):
        if place == 0 or place >= len(steps) - _LAST or any(mark in step for mark in MARKS[:4]):
            kept.append(step)
        elif kept[-1] != "...":
            kept.append("...")
    return "\n\n".join(kept)


def alone(text: str, query: str) -> str:
    """A text that ends in a query block, as if it asked for that query only."""
    head, begin, _ = text.rpartition(BEGIN)
    return f"{head}{begin}\n{query}\n{END}"
