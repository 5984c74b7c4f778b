"""What nodes give at run time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reasonflow.backends.protocol import TokenLogprobs


class Record(Mapping[str, Any]):
    """What one model call gave: the signature's fields by name, and the text they were read from.

    A mapping of the fields; `record.name` reads a field, then `text`, `solution`, `thinking`, `logprobs` or
    `watched_score`. A field that could not be read from the text is None, and the run record says why.

    logprobs: of the text's tokens, a TokenLogprobs each; empty where the call site asks for none (`config={"logprobs":
    20}`), and where the engine reports none.
    watched_score: what its call site's `watch` makes of all its tokens; None where it watches nothing, or cannot tell.
    """

    __slots__ = ("_fields", "_logprobs", "_solution", "_text", "_thinking", "_watched_score")

    def __init__(
        self,
        fields: dict[str, Any],
        text: str,
        thinking: str = "",
        solution: str | None = None,
        logprobs: tuple[TokenLogprobs, ...] = (),
        watched_score: float | None = None,
    ) -> None:
        self._logprobs = logprobs
        self._watched_score = watched_score
        self._fields = fields
        self._text = text
        self._thinking = thinking
        self._solution = text if solution is None else solution

    def read(self, name: str) -> Any:
        """A field, or what every record has beside its fields. Raises KeyError."""
        if name in self._fields:
            return self._fields[name]
        if name == "text":
            return self._text
        if name == "solution":
            return self._solution
        if name == "thinking":
            return self._thinking
        if name == "logprobs":
            return self._logprobs
        if name == "watched_score":
            return self._watched_score
        raise KeyError(name)

    @property
    def fields(self) -> dict[str, Any]:
        """The signature's fields, a new dict."""
        return dict(self._fields)

    @property
    def full_text(self) -> str:
        """All the model wrote outside its thinking."""
        return self._text

    @property
    def flowing_text(self) -> str:
        """What later prompts get to see: the text, cut to the call site's `solution_tokens`."""
        return self._solution

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.read(name)
        except KeyError:
            raise AttributeError(f"this record has no field {name!r}; it has {', '.join(self._fields)}") from None

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"


@dataclass(frozen=True, slots=True)
class Hole:
    """Where a failed branch stands in its list, so that the others keep their places. False in conditions."""

    path: str
    error: BaseException

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Cost:
    """What the longest way to a value cost: the head of a chain of calls."""

    sequential: int = 0
    """Input and output tokens along the way."""
    latency: int = 0
    """Output tokens along the way."""
    last: int | None = None
    """The call that ended it, as its number in the run record."""
    before: Cost | None = None

    def after(self, call: int, input_tokens: int, output_tokens: int) -> Cost:
        """The cost once one more call has been made behind this one."""
        return Cost(self.sequential + input_tokens + output_tokens, self.latency + output_tokens, call, self)

    def path(self) -> tuple[int, ...]:
        """Numbers of the calls along the way, first to last."""
        calls: list[int] = []
        cost: Cost | None = self
        while cost is not None and cost.last is not None:
            calls.append(cost.last)
            cost = cost.before
        return tuple(reversed(calls))


FREE = Cost()


class Furthest:
    """The longest way that calls of a branch have come, also where the branch gives nothing in the end."""

    __slots__ = ("_outer", "cost")

    def __init__(self, outer: Furthest | None = None) -> None:
        self.cost = FREE
        self._outer = outer

    def reach(self, cost: Cost) -> None:
        """A call has ended there; what is around the branch has come as far."""
        if cost.sequential > self.cost.sequential:
            self.cost = cost
            if self._outer is not None:
                self._outer.reach(cost)

    def inside(self) -> Furthest:
        """Of a branch in this one."""
        return Furthest(self)


def longest(costs: Iterator[Cost] | list[Cost]) -> Cost:
    """The most expensive of several ways that must all have ended."""
    best = FREE
    for cost in costs:
        if cost.sequential > best.sequential:
            best = cost
    return best


def solid(items: list[Any]) -> list[Any]:
    """The items without the holes."""
    return [item for item in items if not isinstance(item, Hole)]
