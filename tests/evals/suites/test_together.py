"""Work side by side: results in their order, the first error as it is."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from reasonflow.errors import EngineDead
from reasonflow.evals.suites.together import together


def test_results_keep_their_order_whichever_ends_first() -> None:
    async def after(seconds: float) -> float:
        await anyio.sleep(seconds)
        return seconds

    assert anyio.run(together, *(partial(after, seconds) for seconds in (0.05, 0.0, 0.02))) == [0.05, 0.0, 0.02]


def test_an_error_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("waits")

    async def dies() -> None:
        await anyio.sleep(0.01)
        raise EngineDead("it died")

    with pytest.raises(EngineDead, match="it died"):
        anyio.run(together, waits, dies)
    assert ended == ["waits"]
