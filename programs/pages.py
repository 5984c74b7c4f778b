"""Pages between a retriever and a model: how they are fetched, and how they are read without power over anything."""

from __future__ import annotations

import reasonflow as rf
from reasonflow.programs.excerpts import excerpt
from reasonflow.programs.query_blocks import MARKS
from reasonflow.programs.retrieval.bounded import Bounded, Found
from reasonflow.prompts.neutralise import CHAT_CONTROLS, neutralise


async def look(retriever: Bounded, query: str, passages: int) -> Found:
    """What the retriever has for a query. Its failures are outcomes, and stand in the run record."""
    found = await retriever.ask(query, passages)
    if found.outcome in ("failed", "timed out"):
        rf.note(f"{query!r:.80}: {found.outcome}{f', {found.error}' if found.error else ''}"[:300])
    return found


def has_pages(found: Found) -> bool:
    """Whether there is anything to read."""
    return found.outcome == "found"


def as_text(query: str, found: Found) -> str:
    """The pages, of long ones what stands around their best sentence."""
    return "\n\n".join(
        plain(f"Page {number}: {passage.title}\n{excerpt(passage.text, query)}")
        for number, passage in enumerate(found.passages, 1)
    )


def plain(text: str, specials: tuple[str, ...] = ()) -> str:
    """Text from outside, its marks and chat controls broken apart. specials: further tokens that a model obeys."""
    return neutralise(text, tuple(dict.fromkeys((*MARKS, *CHAT_CONTROLS, *specials))))
