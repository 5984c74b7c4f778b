"""What the runs of AsyncScaling were: who wrote how much, which chunks were kept, and how long samples stood still."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reasonflow.evals.run_lines import RunLines
from reasonflow.evals.samples import Key
from reasonflow.runtime.record import SCORE, Run, Span

FILE = "scaled.jsonl"
_DECIDED = re.compile(r"/seen\[\d+\](?:\[\d+\])*: gate: (not )?accepted, .*, turn (\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """One run, all of its samples together."""

    answers: tuple[str | None, ...]
    """One a sample."""
    target_tokens: int
    """Written by the target; what it scored is not among them."""
    draft_tokens: int
    scored_tokens: int
    """Of the prompts of all scoring calls, prompt and chunk: that is what the target computes for them."""
    chunks: Mapping[int, tuple[int, int]]
    """By turn, from 1: chunks that the gate decided on, and how many of them it accepted."""
    own_s: float | None
    """Of a sample from its first call's start to the end of its last, scoring ones included, summed over the samples.
    None where the run did not make all of its calls itself, but found some of an earlier session."""
    idle_s: float | None
    """Of that, what is neither a model call, its wait for the engine included, nor a scoring call. Whatever a sample
    waits for its siblings is in here, and so is what the run itself takes to go from one call to the next."""


def scaled(prediction: Any) -> Scaled:
    """Out of the record of a run."""
    run: Run = prediction.run
    chunks: dict[int, tuple[int, int]] = {}
    for found in _found(_DECIDED, run.notes):
        decided, kept = chunks.get(int(found[2]), (0, 0))
        chunks[int(found[2])] = decided + 1, kept + (found[1] is None)
    own_s = idle_s = None
    if not any(span.replayed for span in run.spans):
        own_s, idle_s = _times(run.spans)
    return Scaled(
        answers=tuple(None if answer is None else str(answer) for answer in prediction.answers),
        target_tokens=_written(run.spans, "target"),
        draft_tokens=_written(run.spans, "draft"),
        scored_tokens=sum(span.input_tokens for span in run.spans if span.inner == SCORE),
        chunks=dict(sorted(chunks.items())),
        own_s=own_s,
        idle_s=idle_s,
    )


def _found(pattern: re.Pattern[str], notes: Sequence[str]) -> Iterator[re.Match[str]]:
    return (found for note in notes if (found := pattern.search(note)))


def site_of(span: Span) -> str:
    """The call site of a span: the last step of its way, without its number."""
    return span.node.rpartition("/")[2].partition("#")[0]


def _written(spans: Sequence[Span], site: str) -> int:
    return sum(span.output_tokens for span in spans if site_of(span) == site)


def _times(spans: Sequence[Span]) -> tuple[float, float]:
    """Own and idle seconds over all samples. What is scored is a call as any other."""
    calls: dict[int, list[Span]] = defaultdict(list)
    for span in spans:
        calls[span.indices[0]].append(span)
    own = idle = 0.0
    for made in calls.values():
        made.sort(key=lambda span: span.started_s)
        own_s = made[-1].started_s + made[-1].total_s - made[0].started_s
        own += own_s
        idle += max(0.0, own_s - sum(span.total_s for span in made))
    return own, idle


class ScaledLines:
    """The runs of one evaluation folder, a line each. Use as a context; hand `ended` to the runner."""

    def __init__(self, folder: Path) -> None:
        self._lines = RunLines(folder / FILE)
        self.found: dict[Key, Scaled] = {}

    def ended(self, key: Key, prediction: Any) -> None:
        """Keep what a run was."""
        self.found[key] = scaled(prediction)
        self._lines.keep(key, asdict(self.found[key]))

    def __enter__(self) -> ScaledLines:
        self._lines.__enter__()
        self.found = {key: _read(row) for key, row in self._lines.rows.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)


def _read(row: Mapping[str, Any]) -> Scaled:
    chunks = {int(turn): (decided, kept) for turn, (decided, kept) in row["chunks"].items()}
    return Scaled(**{**row, "answers": tuple(row["answers"]), "chunks": chunks})
