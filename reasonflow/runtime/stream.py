"""A run as a stream of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from reasonflow.language.program import Traced
from reasonflow.runtime.events import Event, Finished
from reasonflow.runtime.launch import ProgramOutput, alaunch


async def stream(traced: Traced, inputs: Mapping[str, Any]) -> AsyncIterator[Event]:
    """The events of one run as they happen, `Finished` with the output last. Raises what the run raises, after them.

    Whoever stops reading early cancels the run: its samples have left the engine when the iterator is closed.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    def watch(event: Event) -> None:  # on the engine's thread
        loop.call_soon_threadsafe(events.put_nowait, event)

    # A task group cannot live across the yields of a generator; this task lives no longer than the generator.
    task = loop.create_task(_work(traced, inputs, watch, events))
    try:
        while (event := await events.get()) is not None:
            yield event
        output = await task
        yield Finished(at_s=output.run.wall_s, node=traced.name, output=output)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _work(
    traced: Traced, inputs: Mapping[str, Any], watch: Any, events: asyncio.Queue[Event | None]
) -> ProgramOutput:
    try:
        return await alaunch(traced, inputs, watch)
    finally:
        # Behind the events, which take the same way.
        asyncio.get_running_loop().call_soon_threadsafe(events.put_nowait, None)
