"""Random scripted engines: what a sample says, how long it takes, whether it fails: functions of prompt and seed."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.backends.clock import VirtualClock
from reasonflow.backends.protocol import Request
from reasonflow.errors import BackendError
from tests.laws.random_programs import GREEDY, digest

_BOXED = "The {0} words of this: {1} so it is \\boxed{{{2}}}."
_FIELDS = "[[ ## answer ## ]]\n{2}\n\n[[ ## completed ## ]] {1}"


class Transient(BackendError):
    """Goes away when it is tried again."""

    transient = True


class Lasting(BackendError):
    """Comes back however often it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances per sample."""

    permanent: float = 0.0
    transient: float = 0.0


NO_FAULTS = Faults()


class Answers:
    """The script of a random engine. `asked` lists (prompt, seed) of every sample it was asked for."""

    def __init__(self, seed: int, faults: Faults = NO_FAULTS) -> None:
        self._seed = seed
        self._faults = faults
        self._failed: set[int] = set()
        self._lock = threading.Lock()
        self.asked: list[tuple[str, int | None]] = []

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        with self._lock:
            self.asked.append((prompt, seed))
        key = digest(self._seed, prompt, None if GREEDY in prompt else seed)
        draw = random.Random(key)
        if draw.random() < self._faults.permanent:
            return Lasting("this sample always fails")
        if draw.random() < self._faults.transient and key not in self._failed:
            self._failed.add(key)
            return Transient("this sample fails once")
        words = " ".join(["word"] * draw.choice((0, 3, 20, 60)))
        form = _FIELDS if "[[ ## answer ## ]]" in prompt else _BOXED
        if draw.random() < 0.15:
            return words or "no answer"
        return form.format(len(words), words, draw.randint(0, 2))


def random_engine(seed: int, faults: Faults = NO_FAULTS, *, timing: int | None = None) -> tuple[dspy.LM, Answers]:
    """A language model on an engine of its own, and its script. Close it with `lm.engine.close()`.

    timing: decides how long samples take, in virtual time (none in some engines), and how many run at once; the
        answers stay those of `seed`. None: the same as `seed`.
    """
    pace = seed if timing is None else timing
    draw = random.Random(f"pace {pace}")
    answers = Answers(seed, faults)

    def latency(request: Request, index: int) -> float:
        place = (request.sampling.seed or 0) + index
        return digest(pace, request.prompt.tokens, place) % 997 / 100

    options: dict[str, Any] = {"latency": latency, "clock": VirtualClock()} if draw.random() < 0.7 else {}
    lm = rf.scripted(
        answers,
        window=random.Random(f"window {seed}").choice((256, 1024, 8192, 8192)),
        max_running=draw.choice((1, 2, 5, 64)),
        block_size=draw.choice((1, 16)),
        **options,
    )
    return lm, answers
