import asyncio
from typing import Any

import anyio
import pytest

from reasonflow.runtime.group import Group


def test_the_block_ends_when_all_of_it_has() -> None:
    ended: list[int] = []

    async def wait(rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)
        ended.append(rounds)

    async def main() -> None:
        async with Group() as group:
            for rounds in (3, 1, 2):
                group.start_soon(wait, rounds)
        assert ended == [1, 2, 3]

    asyncio.run(main())


def test_cancelling_takes_every_task_and_lets_those_begin_that_have_not() -> None:
    seen: list[str] = []

    async def wait() -> None:
        seen.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        async with Group() as group:
            group.start_soon(wait)
            await asyncio.sleep(0)
            group.start_soon(wait)
            group.cancel_scope.cancel()

    asyncio.run(main())
    assert seen == ["begun", "begun", "cancelled", "cancelled"]


@pytest.mark.parametrize("outer", ["scope", "task"])
def test_cleaning_up_is_cancelled_by_nobody(outer: str) -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            for _ in range(5):
                await asyncio.sleep(0.001)
            cleaned.append(True)

    async def inside() -> None:
        async with Group() as group:
            for _ in range(3):
                group.start_soon(work)
            await asyncio.sleep(0)
            group.cancel_scope.cancel()

    async def main() -> None:
        if outer == "scope":
            with anyio.move_on_after(0.001) as scope:
                await inside()
            assert scope.cancel_called
        else:
            task = asyncio.create_task(inside())
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert cleaned == [True] * 3


def test_who_is_cancelled_around_it_waits_for_its_tasks() -> None:
    left: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.append("task")

    async def main() -> None:
        with anyio.move_on_after(0.001) as scope:
            async with Group() as outer:
                outer.start_soon(inner)
        assert scope.cancelled_caught
        left.append("block")

    async def inner() -> None:
        async with Group() as group:
            group.start_soon(work)
        left.append("never")

    asyncio.run(main())
    assert left == ["task", "block"]


def test_a_scope_inside_a_task_keeps_its_own_cancellation_and_the_groups_still_comes() -> None:
    after: list[str] = []

    async def work(scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await asyncio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.03)
        after.append("scope ended")
        await asyncio.sleep(60)
        after.append("never")

    async def main() -> None:
        async with Group() as group:
            scope = anyio.CancelScope()
            group.start_soon(work, scope)
            await asyncio.sleep(0)
            scope.cancel()
            await asyncio.sleep(0)
            group.cancel_scope.cancel()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert after == ["scope ended"]


def test_an_error_that_leaves_a_task_cancels_the_rest_and_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("lost")

    async def main() -> None:
        async with Group() as group:
            group.start_soon(asyncio.sleep, 60)
            group.start_soon(fail)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.group_contains(KeyError)


def test_an_error_in_the_block_cancels_its_tasks() -> None:
    async def main() -> None:
        async with Group() as group:
            group.start_soon(asyncio.sleep, 60)
            raise KeyError("lost")

    with pytest.raises(KeyError):
        asyncio.run(main())


def test_programs_choose_it_for_model_calls_alone() -> None:
    import reasonflow as rf
    from reasonflow.language.program import trace
    from reasonflow.runtime.group import group_for

    class Forks(rf.Program):
        def __init__(self, function: Any) -> None:
            self.solve = rf.Generate("question -> answer")
            self.function = function

        def plan(self, question: Any) -> Any:
            def body() -> Any:
                solved = self.solve(question=question)
                return rf.call(self.function, solved.answer) if self.function else solved.answer

            return {"answers": rf.fork(3, body)}

    def bodies(function: Any) -> list[Any]:
        return [node.op.body for node in trace(Forks(function)).plan.walk() if hasattr(node.op, "body")]

    async def main() -> None:
        assert isinstance(group_for(bodies(None)[0]), Group)
        assert not isinstance(group_for(bodies(str)[0]), Group)

    asyncio.run(main())
