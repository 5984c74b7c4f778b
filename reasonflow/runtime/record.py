"""What a run did, call by call, and the figures taken from that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from reasonflow.backends.protocol import Completion
from reasonflow.plan.explain import Explanation, Measured, Printed
from reasonflow.runtime.cache_seen import CacheSeen, compare, shortfall
from reasonflow.runtime.events import BranchEnded, Cancelled, Event, Repaired, Watch
from reasonflow.runtime.values import FREE, Cost

if TYPE_CHECKING:
    from reasonflow.runtime.waterfall import Waterfall

Outcome = Literal["done", "cancelled", "failed"]
ASIDE = "aside"
"""What a span is called inside its node that nothing waited for."""
SCORE = "score"
"""The same where given text was scored, and nothing written."""
_FIRST_FIELDS = (
    "node", "indices", "input_tokens", "cached_tokens", "output_tokens", "started_s", "queued_s", "total_s",
    "finish_reason", "outcome", "repairs", "max_tokens", "replayed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)  # with slots, Python before 3.11.4 puts its own __setstate__ over ours
class Span:
    """One sample of one model call, as it happened."""

    node: str
    """The plan node it executed; several spans share one node."""
    indices: tuple[int, ...]
    """Branch, round and sample numbers on the way to it, outermost first."""
    input_tokens: int
    cached_tokens: int | None
    """Input tokens the engine reused; None where it does not say."""
    output_tokens: int
    started_s: float
    """Seconds after the run began at which the call was ready and handed over."""
    queued_s: float
    """Seconds it waited: in our queue and in the engine's."""
    total_s: float
    """Seconds from being handed over to its last token."""
    finish_reason: str
    outcome: Outcome
    repairs: tuple[str, ...] = ()
    """What had to be repaired to read its text."""
    max_tokens: int | None = None
    """Output tokens it could have written at most."""
    inner: str = ""
    """The step of the program that a function of this run has called; "aside" for a call of the function that nothing
    waited for, "score" for one that scored given text; empty for the run's own steps."""
    replayed: bool = False
    """Recorded by an earlier session of the same evaluation, and not computed again."""
    first_token_s: float | None = None
    """Seconds from being handed over to its first token; None where the engine does not say."""
    planned_tokens: int | None = None
    """Input tokens the token trie foresaw in the engine's prefix cache; None where it foresees nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any] | list[Any]) -> None:
        """By name, so that records pickled before a field existed can be read; once it was a list of the first ones."""
        found = state if isinstance(state, dict) else dict(zip(_FIRST_FIELDS, state, strict=True))
        for field in fields(self):
            object.__setattr__(self, field.name, found.get(field.name, field.default))

    @property
    def tokens_saved(self) -> int:
        """Output tokens that cancelling it saved at most; 0 for a sample that ended by itself."""
        if self.outcome != "cancelled" or self.max_tokens is None:
            return 0
        return max(0, self.max_tokens - self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sums over the calls of a run."""

    calls: int
    """Samples drawn, each a model call of its own."""
    requests: int
    """Prompts sent: a sampling group is one."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    computed_tokens: int
    """Input tokens the engine computed rather than reused."""
    cancelled_calls: int = 0
    """Of the calls: taken out of the engine before they ended."""
    tokens_saved: int = 0
    """Output tokens the cancelled calls could still have written at most."""

    @property
    def total_tokens(self) -> int:
        """B_total: input and output tokens of all calls."""
        return self.input_tokens + self.output_tokens


class Run:
    """The record of one program call. Figures are defined in `docs/language.md`; sums equal the engine's counters."""

    def __init__(self, program: str, explanation: Explanation, seed: int) -> None:
        self.program = program
        self.seed = seed
        self.fingerprint: dict[str, str] = {}
        """Engine, versions, model and its hash, device."""
        self.engines: dict[str, dict[str, str]] = {}
        """The same of the call sites that ran on another engine, by site."""
        self.spans: list[Span] = []
        self.repairs: list[str] = []
        """What had to be repaired or was left out, with the branch it happened in."""
        self.notes: list[str] = []
        """What functions have said that is no repair, and which joins did not wait, with the branch it happened in."""
        self.failures: list[str] = []
        """Branches that failed and stayed as holes, with their errors."""
        self.complete = False
        """Whether it came to its end by itself: no budget cut it, and nothing failed that it needed."""
        self.cut = ""
        """What cut it short; empty where nothing did."""
        self.squeezed = False
        """Whether a budget left it less than its program asks for: fewer branches, shorter prompts or texts."""
        self.wall_s = 0.0
        self.requests = 0
        self.streamed = False
        """Whether somebody wants to see every token."""
        self.cache = CacheSeen()
        """What was seen of the KV caches of its engines."""
        self._watches: list[Watch] = []
        self._explanation: Explanation | Printed = explanation
        self._cost = FREE
        self._began = time.perf_counter()

    # Written by the executor ----------------------------------------------------------------------------------------

    def begin(self, fingerprint: Mapping[str, str], engines: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Start the clock; the engines are ready."""
        self.know(fingerprint, engines)
        self._began = time.perf_counter()

    def know(self, fingerprint: Mapping[str, str], engines: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """What the engines say of themselves."""
        self.fingerprint = dict(fingerprint)
        self.engines = {site: dict(found) for site, found in (engines or {}).items()}

    def clock(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    def add(
        self,
        node: str,
        indices: tuple[int, ...],
        started_s: float,
        completion: Completion,
        outcome: Outcome,
        repairs: tuple[str, ...] = (),
        *,
        max_tokens: int | None = None,
        replayed: bool = False,
    ) -> int:
        """Record one sample; returns its number."""
        self.spans.append(
            Span(
                node=node,
                indices=indices,
                input_tokens=completion.prompt_tokens,
                cached_tokens=completion.cached_tokens,
                output_tokens=completion.output_tokens,
                started_s=started_s,
                queued_s=completion.queued_s,
                total_s=completion.total_s,
                first_token_s=completion.first_token_s,
                planned_tokens=completion.planned_tokens,
                finish_reason=completion.finish_reason,
                outcome=outcome,
                repairs=repairs,
                max_tokens=max_tokens,
                replayed=replayed,
            )
        )
        if self._watches:
            self._tell_end(self.spans[-1], completion)
        for repair in repairs:
            self.repair(node, repair, indices)
        return len(self.spans) - 1

    def repair(self, node: str, text: str, indices: tuple[int, ...] = ()) -> None:
        """Note what had to be repaired, guessed or left out in a branch."""
        self.repairs.append(f"{label(node, indices)}: {text}")
        self.tell(Repaired, node, indices, text=text)

    def watch(self, watch: Watch) -> None:
        """Tell `watch` of every event from now on."""
        self._watches.append(watch)

    @property
    def watched(self) -> bool:
        """Whether anybody listens."""
        return bool(self._watches)

    def tell(self, kind: type[Event], node: str, indices: tuple[int, ...] = (), **facts: Any) -> None:
        """An event has happened; made only where somebody listens."""
        if self._watches:
            event = kind(at_s=self.clock(), node=node, indices=indices, **facts)
            for watch in self._watches:
                watch(event)

    def _tell_end(self, span: Span, completion: Completion) -> None:
        if span.outcome == "cancelled":
            saved, written = span.tokens_saved, span.output_tokens
            self.tell(Cancelled, span.node, span.indices, output_tokens=written, tokens_saved=saved)
            return
        self.tell(
            BranchEnded,
            span.node,
            span.indices,
            text=completion.text,
            input_tokens=span.input_tokens,
            cached_tokens=span.cached_tokens,
            output_tokens=span.output_tokens,
            replayed=span.replayed,
        )

    def end(self, cost: Cost, *, complete: bool) -> None:
        """Close the record. cost: of the way to what the run gave."""
        self.wall_s = self.clock()
        self.complete = complete
        self._cost = cost

    # Read by users --------------------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """Sums over all samples, failed and cancelled ones included."""
        inputs = sum(span.input_tokens for span in self.spans)
        cached = sum(span.cached_tokens or 0 for span in self.spans)
        return Usage(
            calls=len(self.spans),
            requests=self.requests,
            input_tokens=inputs,
            output_tokens=sum(span.output_tokens for span in self.spans),
            cached_tokens=cached,
            computed_tokens=inputs - cached,
            cancelled_calls=sum(span.outcome == "cancelled" for span in self.spans),
            tokens_saved=sum(span.tokens_saved for span in self.spans),
        )

    @property
    def sequential_tokens(self) -> int:
        """B_seq: input and output tokens along the critical path."""
        return self._cost.sequential

    @property
    def token_latency(self) -> int:
        """Output tokens along the critical path."""
        return self._cost.latency

    @property
    def path(self) -> tuple[int, ...]:
        """Numbers of the spans along the critical path, first to last."""
        return self._cost.path()

    @property
    def critical_path(self) -> tuple[Span, ...]:
        """The calls that made the run as long as it was, first to last."""
        return tuple(self.spans[number] for number in self._cost.path())

    @property
    def self_parallelism(self) -> float:
        """All output tokens over the token latency: 1 is sequential."""
        return sum(span.output_tokens for span in self.spans) / self.token_latency if self.token_latency else 1.0

    @property
    def queue_s(self) -> float:
        """Seconds that samples waited, summed."""
        return sum(span.queued_s for span in self.spans)

    @property
    def first_branch_s(self) -> float | None:
        """Seconds until the first sample was complete."""
        return min((span.started_s + span.total_s for span in self.spans if span.outcome == "done"), default=None)

    def explain(self) -> Explanation | Printed:
        """The plan's explanation with what happened beside each node."""
        if isinstance(self._explanation, Printed):
            return self._explanation
        measured: dict[str, Measured] = {}
        critical = {id(span) for span in self.critical_path}
        for span in self.spans:
            row = measured.setdefault(span.node, Measured())
            row.samples += 1
            row.input_tokens += span.input_tokens
            row.cached_tokens += span.cached_tokens or 0
            row.output_tokens += span.output_tokens
            row.queued_s += span.queued_s
            row.running_s += span.total_s - span.queued_s
            row.failed += span.outcome == "failed"
            row.cancelled += span.outcome == "cancelled"
            row.repaired += bool(span.repairs)
            row.critical_tokens += (span.input_tokens + span.output_tokens) if id(span) in critical else 0
            compare(row, span.planned_tokens, span.cached_tokens, span.input_tokens)
        for row in measured.values():
            row.shortfall = shortfall(row, self.cache)
        usage = self.usage
        totals = {
            "sequential tokens": f"{self.sequential_tokens:,}",
            "token latency": f"{self.token_latency:,}",
            "total tokens": f"{usage.total_tokens:,}",
            "prompt tokens computed": f"{usage.computed_tokens:,} of {usage.input_tokens:,}",
            "self-parallelism": f"{self.self_parallelism:.2f}",
            "wall time": f"{self.wall_s:.2f} s",
            **({"tokens saved by cancelling": f"at most {usage.tokens_saved:,}"} if usage.cancelled_calls else {}),
            **({"cut short": self.cut} if self.cut else {}),
        }
        notes = (*self.notes, *unreported(self.spans))
        told = tuple(self.repairs), tuple(self.failures), notes
        return self._explanation.measured(measured, totals, *told)

    def waterfall(self) -> Waterfall:
        """Its calls over time, with the critical path: `print` it, or show it in a notebook."""
        from reasonflow.runtime.waterfall import lay_out

        return lay_out(self.spans, self.path, self.wall_s)

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "program": self.program,
            "seed": self.seed,
            "complete": self.complete,
            "cut": self.cut,
            "squeezed": self.squeezed,
            "usage": {**asdict(self.usage), "total_tokens": self.usage.total_tokens},
            "sequential_tokens": self.sequential_tokens,
            "token_latency": self.token_latency,
            "self_parallelism": self.self_parallelism,
            "wall_s": self.wall_s,
            "queue_s": self.queue_s,
            "first_branch_s": self.first_branch_s,
            "critical_path": list(self._cost.path()),
            "repairs": self.repairs,
            "notes": self.notes,
            "failures": self.failures,
            "fingerprint": self.fingerprint,
            "engines": self.engines,
            "cache": asdict(self.cache),
            "spans": [asdict(span) for span in self.spans],
        }

    def __getstate__(self) -> dict[str, Any]:
        found = self.explain()
        printed = Printed(str(found), found._repr_html_(), found.to_json())
        return {**self.__dict__, "_explanation": printed, "_watches": []}

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        return self  # a record does not change; DSPy copies predictions freely

    def __repr__(self) -> str:
        usage = self.usage
        return (
            f"Run({self.program}: {usage.calls} calls, {self.sequential_tokens} sequential, "
            f"{usage.total_tokens} total tokens, {self.wall_s:.2f} s{'' if self.complete else ', incomplete'})"
        )

    def _repr_html_(self) -> str:
        return f"<div>{self.explain()._repr_html_()}{self.waterfall()._repr_html_()}</div>"


def unreported(spans: Sequence[Span]) -> list[str]:
    """A note, where an engine does not tell what it had cached."""
    silent = sum(span.cached_tokens is None and span.input_tokens > 0 for span in spans)
    samples = "1 sample" if silent == 1 else f"{silent:,} samples"
    return [f"the engine did not report cached tokens of {samples}: all count as computed"] * bool(silent)


def label(node: str, indices: tuple[int, ...]) -> str:
    """A branch as people read it: draft[3]."""
    return node + "".join(f"[{index}]" for index in indices)
