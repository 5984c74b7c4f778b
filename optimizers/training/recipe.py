"""What is trained, in which order: recipes as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from reasonflow.optimizers.training.shape import Shape


@dataclass(frozen=True, slots=True)
class Train:
    """Steps on a curriculum's stage."""

    name: str
    tokens: int
    """Of prompts and completions, at least."""
    drafts: str = ""
    """The `Draft` whose texts the examples read."""
    evened: float = 0.0
    """0: every learned token counts alike. 1: every document does. Between: a document of n learned tokens counts as
    n ** (1 - evened), so that a verdict's one word is not lost among the lines of solutions."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The model answers questions; its answers are kept for a later stage."""

    name: str
    questions: int


Stage: TypeAlias = Train | Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A model's whole training."""

    model: Shape
    curriculum: str
    """`module:attribute`."""
    stages: tuple[Stage, ...]
    lr: float = 1e-3
    warmup: int = 4_000_000
    """Tokens over which the learning rate rises."""
    decay: float = 0.35
    """Share of all tokens, the last ones, over which it falls."""
    rows: int = 4
    width: int = 8192
    longest: int = 768
    """Tokens of a draft at most."""

    @property
    def tokens(self) -> int:
        """Of all stages together."""
        return sum(stage.tokens for stage in self.stages if isinstance(stage, Train))

    def scale(self, seen: int) -> float:
        """Of the learning rate, after so many tokens: up, constant, down to a twentieth."""
        left = (self.tokens - seen) / max(1.0, self.decay * self.tokens)
        return min(1.0, (seen + 1) / self.warmup, max(0.05, left))

    def scaled(self, factor: float) -> Recipe:
        """The same with so many times the tokens and questions."""
        stages = tuple(
            replace(stage, tokens=max(1, int(stage.tokens * factor)))
            if isinstance(stage, Train)
            else replace(stage, questions=max(1, int(stage.questions * factor)))
            for stage in self.stages
        )
        return replace(self, stages=stages, warmup=max(1, int(self.warmup * factor)))


_CURRICULUM = "reasonflow.evals.curriculum.embedded"
_VOCABULARY = 1920

RECIPES: Mapping[str, Recipe] = {
    "embedded": Recipe(
        model=Shape(layers=8, hidden=256, heads=8, kv_heads=4, ffn=768, vocabulary=_VOCABULARY),
        curriculum=f"{_CURRICULUM}:EMBEDDED",
        stages=(
            Train("grow", 120_000_000),
            Train("solve", 400_000_000),
            Draft("drafts-1", 500),
            Train("refine", 190_000_000, drafts="drafts-1", evened=0.5),
            Draft("drafts-2", 500),
            Train("refine", 280_000_000, drafts="drafts-2", evened=0.5),
        ),
    ),
    "embedded-draft": Recipe(
        model=Shape(layers=6, hidden=128, heads=4, kv_heads=2, ffn=256, vocabulary=_VOCABULARY),
        curriculum=f"{_CURRICULUM}:DRAFT",
        stages=(
            Train("grow", 60_000_000),
            Train("at once", 300_000_000),
            Train("draft", 500_000_000, evened=1.0),
        ),
        lr=2e-3,
        decay=0.5,
    ),
    "smoke": Recipe(
        model=Shape(layers=1, hidden=64, heads=1, kv_heads=1, ffn=128, vocabulary=_VOCABULARY),
        curriculum=f"{_CURRICULUM}:EMBEDDED",
        stages=(Train("solve", 30_000), Draft("drafts-1", 4), Train("refine", 20_000, drafts="drafts-1")),
        warmup=4_000,
        rows=1,
        width=2048,
        longest=96,
    ),
}
