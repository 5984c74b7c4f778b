"""Work side by side: a suite's arms keep one engine busy together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from reasonflow.errors import first_failure

Result = TypeVar("Result")


async def together(*works: Callable[[], Awaitable[Result]]) -> list[Result]:
    """What the works give, in their order. The first error ends all of them and is raised as it is."""
    found: dict[int, Result] = {}

    async def carry_out(place: int) -> None:
        found[place] = await works[place]()

    try:
        async with anyio.create_task_group() as group:
            for place in range(len(works)):
                group.start_soon(carry_out, place)
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from failures
    return [found[place] for place in range(len(works))]
