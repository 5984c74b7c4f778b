"""How far a run is, counted from its events."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from reasonflow.runtime.events import Answer, BranchEnded, BranchStarted, Cancelled, Event, Finished, Token


@dataclass(slots=True)
class Step:
    """The branches of one step so far."""

    node: str
    running: int = 0
    ended: int = 0
    cancelled: int = 0
    tokens: int = 0
    """Output tokens; of branches that run, as far as they are told."""

    @property
    def branches(self) -> int:
        """All that have begun."""
        return self.running + self.ended + self.cancelled


class Progress:
    """A watch of one run or several. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing: dict[tuple[str, tuple[int, ...]], int] = {}
        """Tokens so far of every branch in the engine."""
        self._steps: dict[str, Step] = {}
        self._began: float | None = None
        self._answer: Any = None

    def __call__(self, event: Event) -> bool:
        """Count. True for the first branch of all: until it starts, the engine may be starting."""
        branch = (event.node, event.indices)
        with self._lock:
            if isinstance(event, BranchStarted):
                self._writing[branch] = 0
                self._count(event.node, running=1)
                if self._began is None:
                    self._began = time.perf_counter()
                    return True
            elif isinstance(event, Token):
                self._writing[branch] = self._writing.get(branch, 0) + 1
                self._count(event.node, tokens=1)
            elif isinstance(event, (BranchEnded, Cancelled)):
                told = self._writing.pop(branch, None)  # None: replayed, or cancelled before it had begun
                ended = isinstance(event, BranchEnded)
                tokens = event.output_tokens - (told or 0)
                self._count(event.node, -(told is not None), int(ended), int(not ended), tokens)
            elif isinstance(event, Answer):
                self._answer = event.value
            elif isinstance(event, Finished):
                self._answer = event.output
        return False

    def steps(self) -> tuple[Step, ...]:
        """As they stand now, in the order in which they began."""
        with self._lock:
            return tuple(map(replace, self._steps.values()))

    @property
    def answer(self) -> Any:
        """The latest value that the run may return; None where there is none yet."""
        return self._answer

    @property
    def seconds(self) -> float:
        """Since the first branch started."""
        return 0.0 if self._began is None else time.perf_counter() - self._began

    def running(self) -> str:
        """Branches and tokens so far, and how fast they come."""
        steps, seconds = self.steps(), self.seconds
        running, tokens = sum(step.running for step in steps), sum(step.tokens for step in steps)
        rate = f", {tokens / seconds:,.0f} tokens/s" if seconds > 1 else ""
        return f"{running} branch{'' if running == 1 else 'es'} running, {self.done()}{rate}"

    def done(self) -> str:
        """The same of a run that is over."""
        steps = self.steps()
        cancelled = sum(step.cancelled for step in steps)
        shown = f", {cancelled} cancelled" if cancelled else ""
        return f"{sum(step.ended for step in steps)} ended{shown}, {sum(step.tokens for step in steps):,} tokens"

    def _count(self, node: str, running: int = 0, ended: int = 0, cancelled: int = 0, tokens: int = 0) -> None:
        step = self._steps.setdefault(node, Step(node))
        step.running += running
        step.ended += ended
        step.cancelled += cancelled
        step.tokens += tokens
