"""The end of a language model that a suite has opened."""

from __future__ import annotations

import anyio.to_thread
import dspy

from reasonflow.backends.handles import EngineHandle


async def close(lm: dspy.LM) -> None:
    """Stop the model's engine, where it is one of ours. In a thread: it waits for the engine to end."""
    if isinstance(lm.engine, EngineHandle):
        await anyio.to_thread.run_sync(lm.engine.close)
