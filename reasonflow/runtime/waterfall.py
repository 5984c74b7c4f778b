"""A run's calls over time, laid out: spans become rows, rows have segments. Pure data; drawing it is elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, TypeAlias

from reasonflow.runtime.record import Outcome, Span, label

MOST_ROWS = 60
"""Rows at most that are not inside a folded one."""
MOST_MEMBERS = 64
"""Rows at most inside one folded row."""
_ALL_MEMBERS = 128
"""The same of all folded rows together: a notebook keeps what it shows."""
_MOST_NAMES = 6
"""Calls of the critical path that are named."""
_CLOSE = 0.005
"""Stretches of the critical path nearer to each other than this part of the axis are one."""

Kind = Literal["queued", "prefill", "decode", "running", "spread"]
"""running: prefill and decode where the engine does not tell them apart. spread: some samples of a folded row have
ended and others have not."""
_Group: TypeAlias = list[int]
"""Numbers of spans."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a row did from one moment to another, in seconds after the run began."""

    kind: Kind
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One span, or several of one step folded into one. Token counts are sums."""

    title: str
    samples: int
    segments: tuple[Segment, ...]
    """In order and without gaps. Empty where it took no time, or was replayed: it happened at `started_s`."""
    started_s: float
    ended_s: float
    critical: tuple[tuple[float, float], ...]
    """Stretches of time on the critical path, in order."""
    outcomes: Mapping[Outcome, int]
    replayed: int
    """Samples that an earlier session had recorded: they took no time in this one."""
    repaired: int
    input_tokens: int
    cached_tokens: int | None
    """Of the input; None where an engine did not say."""
    output_tokens: int
    took_s: tuple[float, float, float]
    """Shortest, median and longest time from being handed over to the last token."""
    median_end_s: float
    members: tuple[Row, ...] = ()
    """The rows it is folded from, of the longer lists only those that matter most."""
    hidden: int = 0
    """How many are missing among `members`."""

    @property
    def folded(self) -> bool:
        """Whether it stands for several spans."""
        return self.samples > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The calls of a run over time. `print` it, or show it in a notebook."""

    rows: tuple[Row, ...]
    """By the time they began."""
    hidden: int
    """Spans in no row: there are too many steps."""
    seconds: float
    """Length of the axis: the run's wall time, or more where a call is said to have ended later."""
    samples: int
    path: tuple[str, ...]
    """Calls of the critical path, first to last; of a long one the first few and the last. Empty where none is known:
    the run failed, or asked no model."""
    path_calls: int
    """How many it has."""
    path_s: float
    """Seconds they took."""

    def ticks(self) -> tuple[float, ...]:
        """Round numbers of seconds along the axis, four to ten of them."""
        if self.seconds <= 0:
            return (0.0,)
        power = 10.0 ** math.floor(math.log10(self.seconds / 4))
        step = max((part * power for part in (1, 2, 5) if part * power * 4 <= self.seconds), default=power)
        return tuple(number * step for number in range(math.floor(self.seconds / step + 1e-9) + 1))

    def share(self, at_s: float) -> float:
        """Where a moment lies on the axis: 0 to 1."""
        return min(1.0, max(0.0, at_s / self.seconds)) if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        from reasonflow.runtime.waterfall_text import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from reasonflow.runtime.waterfall_html import as_html

        return as_html(self)


def lay_out(spans: Sequence[Span], path: Sequence[int] = (), wall_s: float = 0.0) -> Waterfall:
    """The waterfall of these spans. path: numbers of those on the critical path, first to last.

    Samples of one step that ran side by side are one folded row from five on; where that leaves more than `MOST_ROWS`,
    from two on, then all of a step; and of what is still too much, the critical and the longest rows are kept.
    """
    ends = [_end(span) for span in spans]
    seconds = max([wall_s, *ends], default=0.0)
    making = _Making(spans, ends, frozenset(path), seconds)
    groups = making.kept(making.grouped())
    room = min(MOST_MEMBERS, _ALL_MEMBERS // max(1, sum(len(group) > 1 for group in groups)))
    rows = tuple(making.row(group, room) for group in groups)
    named = path if len(path) <= _MOST_NAMES else [*path[: _MOST_NAMES - 1], path[-1]]
    return Waterfall(
        rows=rows,
        hidden=len(spans) - sum(row.samples for row in rows),
        seconds=seconds,
        samples=len(spans),
        path=tuple(_name(spans[number]) for number in named),
        path_calls=len(path),
        path_s=sum(ends[number] - spans[number].started_s for number in path),
    )


@dataclass(frozen=True, slots=True)
class _Making:
    """What rows are made from."""

    spans: Sequence[Span]
    ends: Sequence[float]
    critical: frozenset[int]
    seconds: float

    def grouped(self) -> list[_Group]:
        """Spans by the rows they share, rows by the time they begin."""
        order = sorted(range(len(self.spans)), key=lambda number: (self.spans[number].started_s, number))
        steps: dict[tuple[str, str], _Group] = {}
        for number in order:
            span = self.spans[number]
            steps.setdefault((span.node, span.inner), []).append(number)
        together = [group for step in steps.values() for group in self._side_by_side(step)]
        groups: list[_Group] = []
        for fold, found in ((5, together), (2, together), (2, list(steps.values()))):
            groups = [part for group in found for part in ([group] if len(group) >= fold else [[n] for n in group])]
            if len(groups) <= MOST_ROWS:
                break
        return sorted(groups, key=lambda group: (self.spans[group[0]].started_s, group[0]))

    def kept(self, groups: list[_Group]) -> list[_Group]:
        """What there is room for."""
        if len(groups) <= MOST_ROWS:
            return groups

        def weight(place: int) -> tuple[bool, float]:
            group = groups[place]
            length = max(self.ends[number] for number in group) - self.spans[group[0]].started_s
            return not self.critical.isdisjoint(group), length

        places = sorted(range(len(groups)), key=weight, reverse=True)[:MOST_ROWS]
        return [groups[place] for place in sorted(places)]

    def row(self, group: _Group, room: int = 0) -> Row:
        """The row of a group. room: for rows inside it."""
        found, ends = [self.spans[number] for number in group], [self.ends[number] for number in group]
        took = [end - span.started_s for span, end in zip(found, ends, strict=True)]
        cached = [span.cached_tokens for span in found]
        ways = [(self.spans[number].started_s, self.ends[number]) for number in group if number in self.critical]
        members = self._members(group, room) if len(group) > 1 else []
        return Row(
            title=_name(found[0]) if len(group) == 1 else f"{_common_name(found)} × {len(group)}",
            samples=len(group),
            segments=tuple(_segments(found)),
            started_s=found[0].started_s,
            ended_s=max(ends),
            critical=tuple(_merged(sorted(ways), self.seconds * _CLOSE)),
            outcomes=dict(Counter(span.outcome for span in found)),
            replayed=sum(span.replayed for span in found),
            repaired=sum(bool(span.repairs) for span in found),
            input_tokens=sum(span.input_tokens for span in found),
            cached_tokens=None if None in cached else sum(count or 0 for count in cached),
            output_tokens=sum(span.output_tokens for span in found),
            took_s=(min(took), median(took), max(took)),
            median_end_s=median(ends),
            members=tuple(self.row([number]) for number in members),
            hidden=len(group) - len(members) if len(group) > 1 else 0,
        )

    def _members(self, group: _Group, room: int) -> _Group:
        """Those that are shown inside: all, or the critical ones, those that did not end well, and the longest."""

        def weight(number: int) -> tuple[bool, bool, float]:
            span = self.spans[number]
            return number in self.critical, span.outcome != "done", span.total_s

        chosen = group if len(group) <= room else sorted(group, key=weight, reverse=True)[:room]
        return sorted(chosen, key=lambda number: (self.spans[number].indices, number))

    def _side_by_side(self, step: _Group) -> Iterator[_Group]:
        """A step's spans, in order of their starts, cut where one begins after all earlier ones have ended."""
        group: _Group = []
        until_s = began_s = 0.0
        for number in step:
            started_s = self.spans[number].started_s
            if group and started_s >= until_s and started_s != began_s:
                yield group
                group = []
            group.append(number)
            began_s, until_s = started_s, max(until_s, self.ends[number])
        if group:
            yield group


def _end(span: Span) -> float:
    return span.started_s + (0.0 if span.replayed else max(0.0, span.total_s))


def _name(span: Span, places: int | None = None) -> str:
    name = label(span.node, span.indices[:places])
    return f"{name} › {span.inner}" if span.inner else name


def _common_name(found: Sequence[Span]) -> str:
    """The step, with the numbers that all its spans share on the way from the outside."""
    first = found[0].indices
    places = 0
    while places < len(first) and all(span.indices[: places + 1] == first[: places + 1] for span in found):
        places += 1
    return _name(found[0], places)


def _segments(found: Sequence[Span]) -> Iterator[Segment]:
    """Until the first sample is scheduled, has a token, has ended; then until the last one has ended."""
    real = [span for span in found if not span.replayed]
    if not real:
        return
    # Engines take their times from clocks of their own: no moment lies before the one that must precede it.
    firsts = [span.started_s + span.first_token_s for span in real if span.first_token_s is not None]
    moments = [min(span.started_s for span in real), min(span.started_s + span.queued_s for span in real)]
    kinds: list[Kind] = ["queued", "running"]
    if firsts:
        moments.append(min(firsts))
        kinds[1:] = ["prefill", "decode"]
    moments.append(min(map(_end, real)))
    if len(real) > 1:
        moments.append(max(map(_end, real)))
        kinds.append("spread")
    for place in range(len(moments) - 2, -1, -1):
        moments[place] = max(moments[0], min(moments[place], moments[place + 1]))
    for kind, (from_s, to_s) in zip(kinds, pairwise(moments), strict=True):
        if to_s > from_s:
            yield Segment(kind, from_s, to_s)


def _merged(ways: Sequence[tuple[float, float]], close_s: float) -> Iterator[tuple[float, float]]:
    current: tuple[float, float] | None = None
    for way in ways:
        if current is None:
            current = way
        elif way[0] <= current[1] + close_s:
            current = (current[0], max(current[1], way[1]))
        else:
            yield current
            current = way
    if current is not None:
        yield current
