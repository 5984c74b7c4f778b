import asyncio
import time

import anyio

from reasonflow.backends.clock import VirtualClock, WallClock


def test_hours_pass_at_once_and_in_order() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))
        if name == "b":
            await sleeper("later", 1800)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for name, seconds in [("c", 7200.0), ("a", 60.0), ("b", 3600.0), ("also a", 60.0)]:
                group.start_soon(sleeper, name, seconds)

    started_s = time.perf_counter()
    asyncio.run(main())
    assert woken == [("a", 60), ("also a", 60), ("b", 3600), ("later", 5400), ("c", 7200)]
    assert time.perf_counter() - started_s < 5


def test_time_waits_for_work_that_is_still_going() -> None:
    clock = VirtualClock()

    async def worker() -> None:
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        await clock.sleep(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 2)
            group.start_soon(worker)

    asyncio.run(main())
    assert clock.now() == 2  # the worker's second began at 0


def test_a_cancelled_sleeper_holds_nobody_up() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with anyio.move_on_after(0):
            await clock.sleep(1000)
        await clock.sleep(1)

    asyncio.run(main())
    assert clock.now() == 1


def test_the_wall_clock_is_real() -> None:
    clock = WallClock()
    before_s = clock.now()
    asyncio.run(clock.sleep(0.01))
    assert clock.now() - before_s >= 0.01
