"""What one run searched, as metrics count it: calls, turns, and what came back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search call."""

    text: str
    titles: tuple[str, ...] = ()
    """Of the results, best first."""
    texts: tuple[str, ...] = ()
    """Of the results, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The searches of a run."""

    turns: tuple[tuple[Query, ...], ...] = ()
    """The queries of each output of the model, in order. The output that answers is a turn too, of no query."""
    tokens: int = 0
    """Generated ones, search results not among them."""

    @property
    def calls(self) -> int:
        """Queries issued: several at once count each."""
        return sum(map(len, self.turns))

    @property
    def rankings(self) -> tuple[tuple[str, ...], ...]:
        """The titles that each call found, best first."""
        return tuple(query.titles for turn in self.turns for query in turn)

    @property
    def titles(self) -> tuple[str, ...]:
        """All titles found, in order, each once."""
        return tuple(dict.fromkeys(title for ranking in self.rankings for title in ranking))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts found, in order, each once."""
        return tuple(dict.fromkeys(text for turn in self.turns for query in turn for text in query.texts))
