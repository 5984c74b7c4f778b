"""What an annotated question rests on: pages, passages and the gold decomposition.

None of it is an input of a program, and none decides whether an answer is right: metrics compare retrieval with it, and
runs with a gold decomposition are made of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One of the passages that came with a question."""

    title: str
    """Of the page it is from. Several passages may be from one page."""
    text: str
    supporting: bool = False
    """Whether the answer rests on it; the others are there to distract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One question of the gold decomposition."""

    id: str
    """Unique in its question."""
    question: str
    """In MuSiQue `#1` stands for the answer of step 1; `subject >> relation` asks for the object."""
    answer: Any
    """As annotated: in FanOutQA also a number, a list or an object."""
    depends_on: tuple[str, ...] = ()
    """Ids of the earlier steps whose answers it needs."""
    titles: tuple[str, ...] = ()
    """Pages that answer it; empty where none is annotated, or where it only puts other steps together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The annotation of one question. Everything is empty where a dataset says nothing of it."""

    titles: tuple[str, ...] = ()
    """Pages that the answer rests on, each once."""
    passages: tuple[Passage, ...] = ()
    """All that came with the question, distractors too: what an index can be made of."""
    steps: tuple[Step, ...] = ()
    """The gold decomposition: each step stands behind those that it depends on."""
    hops: int | None = None
    """As the dataset counts them."""
    type: str = ""
    """The dataset's name for this sort of question."""

    @property
    def supporting(self) -> tuple[Passage, ...]:
        return tuple(passage for passage in self.passages if passage.supporting)

    @property
    def by_hop(self) -> tuple[tuple[str, ...], ...]:
        """The titles of each hop: by step where the steps name every title, else each title is a hop."""
        by_step = tuple(step.titles for step in self.steps if step.titles)
        if {title for titles in by_step for title in titles} == set(self.titles):
            return by_step
        return tuple((title,) for title in self.titles)
