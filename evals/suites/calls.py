"""The texts that an evaluation's model calls wrote: a line per run, kept where the runner keeps its samples.

A sample's record holds what its run gave; drafts and workspaces are gone with the run. Suites look into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key
from reasonflow.evals.session import Audience
from reasonflow.runtime.events import BranchEnded, Event, Watch

FILE = "texts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One sample of one model call."""

    node: str
    """The plan's step: `draft`, `refine#2`."""
    indices: tuple[int, ...]
    """Branch, round and sample numbers, outermost first; empty for a single one."""
    text: str
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.input_tokens + self.output_tokens


class CallTexts:
    """The calls of every run of one evaluation folder. Use as a context; hand `audience` to the runner.

    Calls end on engines' threads, runs on the evaluator's. A run's line is on disk before the runner records its
    sample: whatever is recorded has its texts, unless its call raised.
    """

    def __init__(self, folder: Path, beside: Audience) -> None:
        """beside: is told everything, too."""
        self._lines, self._beside = RunLines(folder / FILE), beside
        self._under_way: dict[Key, list[Call]] = {}
        self.found: dict[Key, tuple[Call, ...]] = {}
        """By sample; the calls in their nodes' order and, inside a node, in the order of their indices."""

    @property
    def audience(self) -> Audience:
        return replace(self._beside, follow=self._follow, on_prediction=self._ended)

    def _follow(self, key: Key) -> Watch:
        calls = self._under_way[key] = []
        beside = None if self._beside.follow is None else self._beside.follow(key)
        return lambda event: _see(event, calls, beside)

    def _ended(self, key: Key, prediction: Any) -> None:
        if self._beside.on_prediction is not None:
            self._beside.on_prediction(key, prediction)
        calls = ordered(self._under_way.pop(key))
        self.found[key] = calls
        self._lines.keep(key, {"calls": [asdict(call) for call in calls]})

    def __enter__(self) -> CallTexts:
        self._lines.__enter__()
        self.found = {key: _calls(row) for key, row in self._lines.rows.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)


def ordered(calls: list[Call]) -> tuple[Call, ...]:
    """Nodes by their first call's end, the calls of each by their indices: ends depend on the engine's mood."""
    nodes = {node: place for place, node in enumerate(dict.fromkeys(call.node for call in calls))}
    return tuple(sorted(calls, key=lambda call: (nodes[call.node], call.indices)))


def _see(event: Event, calls: list[Call], beside: Callable[[Event], None] | None) -> None:
    if beside is not None:
        beside(event)
    if isinstance(event, BranchEnded):
        calls.append(
            Call(
                node=event.node,
                indices=event.indices,
                text=event.text,
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
            )
        )


def _calls(row: Mapping[str, Any]) -> tuple[Call, ...]:
    return tuple(Call(**{**call, "indices": tuple(call["indices"])}) for call in row["calls"])
