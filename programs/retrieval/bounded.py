"""Searching within bounds: a query has a deadline, a passage a length, and equal queries are asked once."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
from anyio import CapacityLimiter, to_thread

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.cache import Disk, Memory, Passages
from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.retrieval.protocol import as_retriever
from reasonflow.programs.retrieval.returned import passages_of
from reasonflow.runtime.functions import contained

Outcome: TypeAlias = Literal["found", "nothing", "timed out", "failed"]
REMEMBERED = 4096
"""Queries kept in memory: with five passages of two thousand characters each, some forty megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of one query."""

    passages: tuple[Passage, ...]
    """Best first; none unless something was found."""
    seconds: float
    """How long the caller waited."""
    outcome: Outcome
    error: str
    """Why it failed or was too late; of a query that did not, why its answer could not be kept on disk; else empty."""
    cached: bool
    """Nothing was asked for this caller: an equal query was answered before, or was under way."""


class Bounded:
    """One retriever that cannot hold up its callers, whatever it does.

    `ask` never raises what the retriever raises: a failure is an outcome. Equal queries of the same number of passages
    are asked once, while they are under way and afterwards, from any number of threads and event loops; an answer is
    remembered, a failure is not. The work is done within its first caller: when that one is cancelled, the next who
    waits asks again.
    """

    def __init__(
        self,
        retriever: object,
        *,
        deadline_s: float | None,
        longest: int,
        remembered: int = REMEMBERED,
        folder: str | Path | None = None,
    ) -> None:
        """retriever: whatever `as_retriever` takes.

        deadline_s: seconds that a query may take; None: as long as it likes. A function that is not async goes on in
        its thread when its time is up: nothing can stop it, and its result is dropped. The end of the process waits for
        it.
        longest: characters of a text, or of a title, that are kept.
        remembered: queries whose answers stay in memory.
        folder: where answers are kept for later processes; one folder for one retriever, since nothing else tells whose
        they are. Deleting it forgets them.
        Raises InputError for what is no retriever, for numbers that make no sense, and for a folder without access.
        """
        if deadline_s is not None and not deadline_s > 0:
            raise InputError(f"a deadline of {deadline_s} s", fix="give seconds above 0, or None for no deadline")
        if longest < 1:
            raise InputError(f"passages of {longest} characters", fix="let them be one character long at least")
        self._retriever = as_retriever(retriever)
        self._name = getattr(self._retriever, "name", type(self._retriever).__name__)
        self._deadline_s = math.inf if deadline_s is None else deadline_s
        self._longest = longest
        self._memory = Memory(remembered)
        self._disk = None if folder is None else Disk(folder)
        self._under_way: dict[str, Future[Found | None]] = {}
        self._lock = threading.Lock()

    async def ask(self, query: str, k: int) -> Found:
        """Search, or remember. Raises InputError for k below 1; cancellation passes through."""
        if k < 1:
            raise InputError(f"cannot search for {k} passages", fix="give a number from 1 up")
        began = time.perf_counter()
        asked = json.dumps([query, k, self._longest])
        while True:
            with self._lock:
                known = self._memory.get(asked)
                waiting = self._under_way.get(asked)
                if known is None and waiting is None:
                    mine = self._under_way[asked] = Future()
            if known is not None:
                return _answer(known, began, cached=True)
            if waiting is None:
                return await self._lead(mine, asked, query, k, began)
            found = await asyncio.shield(asyncio.wrap_future(waiting))
            if found is not None:
                return replace(found, seconds=time.perf_counter() - began, cached=True)

    async def _lead(self, mine: Future[Found | None], asked: str, query: str, k: int, began: float) -> Found:
        """Ask for this caller and for everybody who waits; they hear None where this caller is cancelled."""
        found: Found | None = None
        try:
            found = await self._ask(asked, query, k, began)
            if found.outcome in ("found", "nothing"):
                self._memory.put(asked, found.passages)
            return found
        finally:
            with self._lock:
                del self._under_way[asked]
            mine.set_result(found)

    async def _ask(self, asked: str, query: str, k: int, began: float) -> Found:
        known, trouble = await self._from_disk(asked)
        if known is not None:
            return _answer(known, began, cached=True)
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._deadline_s)
        try:
            with scope, contained(self._name):
                found = passages_of(await self._retriever.search(query, k), k, self._name)
        except Exception as error:
            # Some libraries make an error of their own of being cancelled.
            if not scope.cancel_called:
                return _without(began, "failed", f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            # A retriever whose own work was cancelled says so with the same exception: its caller was not.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _without(began, "failed", f"CancelledError: {self._name} gave up by itself")
        if scope.cancel_called:
            return _without(began, "timed out", f"{self._name} gave no answer within {self._deadline_s:g} s")
        passages = tuple(map(self._cut, found))
        return _answer(passages, began, error=trouble or await self._to_disk(asked, passages))

    def _cut(self, passage: Passage) -> Passage:
        if max(len(passage.text), len(passage.title)) <= self._longest:
            return passage
        return replace(passage, title=passage.title[: self._longest], text=passage.text[: self._longest])

    async def _from_disk(self, asked: str) -> tuple[Passages | None, str]:
        """What is kept there, and why it cannot be read."""
        if self._disk is None:
            return None, ""
        try:
            return await to_thread.run_sync(self._disk.get, asked, limiter=CapacityLimiter(1)), ""
        except (sqlite3.Error, ValueError) as error:
            return None, _trouble(error)

    async def _to_disk(self, asked: str, passages: Passages) -> str:
        """Why it cannot be kept there."""
        if self._disk is None:
            return ""
        try:
            await to_thread.run_sync(self._disk.put, asked, passages, limiter=CapacityLimiter(1))
        except sqlite3.Error as error:
            return _trouble(error)
        return ""


def _answer(passages: Passages, began: float, *, cached: bool = False, error: str = "") -> Found:
    outcome: Outcome = "found" if passages else "nothing"
    return Found(passages=passages, seconds=time.perf_counter() - began, outcome=outcome, error=error, cached=cached)


def _without(began: float, outcome: Outcome, error: str) -> Found:
    return Found(passages=(), seconds=time.perf_counter() - began, outcome=outcome, error=error, cached=False)


def _trouble(error: Exception) -> str:
    return f"not kept on disk: {error}"
