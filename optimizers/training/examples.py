"""What a curriculum gives and the trainer takes: documents of token ids, and questions for the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Encoded(NamedTuple):
    """One document: a prompt and its completion, the end of the turn included."""

    tokens: Sequence[int]
    learned: tuple[tuple[int, int], ...]
    """Half-open spans of the tokens whose prediction counts in the loss."""


class Question(NamedTuple):
    """A prompt, ready for the assistant's turn."""

    address: str
    """Names the problem: what is sampled is filed under it."""
    tokens: Sequence[int]


class Curriculum(Protocol):
    """Where training data comes from. It is pickled into the processes that make data beside the training.

    The trainer asks for `examples` once for each of these processes, each with a seed of its own, and reads on for as
    long as the stage lasts. Stages are named by the recipe; an unknown one is refused with an InputError.
    """

    @property
    def vocabulary(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def stop(self) -> tuple[int, ...]:
        """The ids that end a turn."""
        ...

    @property
    def folder(self) -> Path:
        """Holds tokenizer.json and tokenizer_config.json, which an export takes along."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of sampled tokens."""
        ...

    def examples(self, stage: str, seed: int, drafts: Path | None = None) -> Iterator[Encoded]:
        """Endless examples of a stage; another seed gives others.

        drafts: a folder of JSON lines, `{"address": ..., "drafts": [...]}`: what the model itself wrote.
        """
        ...

    def questions(self, stage: str, seed: int, count: int) -> Iterator[tuple[Question, int]]:
        """Questions with how many samples of each are wanted."""
        ...

    def about(self, drafts: Path) -> dict[str, float]:
        """What the drafts in a folder are like, for the report."""
        ...
