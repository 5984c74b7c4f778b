"""Grading answers: what is plain is decided at once, the rest by worker processes with hard limits.

Computer algebra on a model's output can hang or eat the memory of the machine; a worker that does is killed and costs
one answer.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reasonflow.errors import RunError
from reasonflow.evals.calls import structure, tools
from reasonflow.evals.comparison import MAX_CHARS, countdown, decide, same_words
from reasonflow.evals.dataset import Problem
from reasonflow.evals.qa import fanout

WORKER = Path(__file__).with_name("grading_worker.py")
LIMIT_S = 5.0
"""Seconds for one comparison. math-verify's own default."""
MEMORY_BYTES = 2 * 1024**3
"""Address space of one worker. sympy with reasoning-gym takes a quarter of it."""


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict."""

    correct: bool
    reason: str = ""
    """Why an answer is wrong where that is not its value: "no answer", "timed out", "not parsed", "lacks Ada"."""


class WorkerLost(Exception):
    """The worker process ended before it answered; the message is the reason to record."""


class Worker:
    """One grading process. Not shared between threads; once lost it is of no more use."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        # -P keeps the worker's folder off its path: a module there has the name of one in the standard library.
        # A session of its own: Ctrl-C is for the evaluation, which ends its workers by closing their input.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # read only if the worker cannot start; it closes its end when it is ready
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> Grade:
        """The verdict on one request. Raises WorkerLost, and RunError where the worker cannot even start."""
        if not self._ready:
            self._start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(dict(request)).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed by another thread
            raise WorkerLost("the grading process ended") from error
        reply = self._reply()
        return Grade(bool(reply["correct"]), str(reply["reason"]))

    def _start(self) -> None:
        """Wait until the worker has loaded its libraries."""
        try:
            self._reply()
        except WorkerLost as lost:
            assert self._process.stderr is not None
            if self._process.stderr.closed:
                raise  # by another thread, while this one waited
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            raise RunError(
                "the grading process cannot start",
                why=said[-1] if said else str(lost),
                fix='pip install "reasonflow[eval]"; a missing module, or a memory limit of this machine, stops it',
            ) from lost
        self._ready = True

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except ValueError as error:
            raise WorkerLost("the grader was closed") from error
        if not line.endswith(b"\n"):
            code = self._process.wait()
            raise WorkerLost("timed out" if code == -signal.SIGALRM else f"the grading process ended with code {code}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # an unsent request of a process that is gone


class Grader:
    """Grades from any thread; at most `workers` comparisons run at a time. Workers start when first needed."""

    def __init__(self, *, workers: int = 2, limit_s: float = LIMIT_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit_s, self._memory_bytes = limit_s, memory_bytes
        self._lock = threading.Lock()
        self._all: set[Worker] = set()
        self._closed = False
        # None stands for a worker that is not started yet. Last in, first out: one busy worker stays the only one.
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(None)

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """Whether `answer` solves the problem. Blocks for the limit at most, plus a worker's start.

        No answer makes it raise; RunError where no worker can start.
        """
        if answer is None or not answer.strip():
            return Grade(False, "no answer")
        if len(answer) > MAX_CHARS:
            return Grade(False, f"longer than {MAX_CHARS} characters")
        if problem.kind == "countdown":
            return Grade(*countdown(answer, problem.grading["numbers"], problem.grading["target"]))
        if problem.kind == "listed":
            return _listed(answer, problem.grading["answers"])
        if problem.kind == "calls":
            met = structure.match(answer, problem.grading["ground_truth"])
            return Grade(met.equal, met.reason)
        if problem.kind == "tools":
            chosen = tools.choose(answer, problem.grading["relevant"])
            return Grade(chosen.equal, chosen.reason)
        accepted = (problem.answer, *problem.aliases)
        if problem.kind == "text":
            return Grade(any(same_words(answer, gold) for gold in accepted))
        grades = [self._compare(problem, answer, gold) for gold in accepted]
        return next((grade for grade in grades if grade.correct), grades[0])

    def equal(self, answer: str, expected: str) -> Grade:
        """Whether two mathematical answers are equal."""
        return self.grade(Problem(id="", inputs={}, answer=expected), answer)

    def _compare(self, problem: Problem, answer: str, gold: str) -> Grade:
        verdict = decide(answer, gold)
        if problem.kind == "generated":
            if verdict:
                return Grade(True)
            # Its generator knows what else is right: another order, another spelling, another solution.
            return self._ask({"kind": "generated", "answer": answer, "origin": dict(problem.grading)})
        if verdict is not None:
            return Grade(verdict)
        grade = self._ask({"kind": "math", "answer": answer, "expected": gold})
        if grade.reason.startswith("not parsed") and same_words(answer, gold):
            return Grade(True)
        return grade

    def _ask(self, request: Mapping[str, Any]) -> Grade:
        worker = self._free.get()
        keep: Worker | None = None
        try:
            worker = worker or self._start()
            grade = worker.ask({**request, "limit_s": self._limit_s})
            # An allocator that hit its limit leaves fragments behind; a fresh process is cheaper than a doubtful one.
            keep = None if grade.reason == "out of memory" else worker
            return grade
        except WorkerLost as lost:
            return Grade(False, str(lost))
        finally:
            if keep is None and worker is not None:
                self._forget(worker)
            self._free.put(keep)

    def _start(self) -> Worker:
        with self._lock:
            if self._closed:
                raise WorkerLost("the grader is closed")
            worker = Worker(self._memory_bytes)
            self._all.add(worker)
            return worker

    def _forget(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def close(self) -> None:
        """End all workers; comparisons under way come back as lost. Idempotent."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listed(answer: str, golds: Sequence[Any]) -> Grade:
    """Whether the answer holds every string of one of the gold answers; else what it lacks of the nearest."""
    found = max((fanout.find(answer, gold) for gold in golds), key=lambda found: found.loose)
    return Grade(found.strict, "" if found.strict else f"lacks {', '.join(found.missing[:3])}")
