"""Losers leave the engine at once: races, quorums, cancelled callers, interrupted ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import AnswerError, RunError


def idle(lm: dspy.LM) -> bool:
    """Nothing in the engine, nothing in our queue, no task on the runtime's loop but the one that asks."""
    runtime = lm.engine.runtime

    async def look() -> tuple[int, int, int, int, int]:
        counts = await runtime.backend.counters()
        scheduler = runtime.scheduler
        tasks = len(asyncio.all_tasks()) - 1
        return counts.running, counts.waiting, scheduler.running, scheduler.waiting, tasks

    return runtime.run(look) == (0, 0, 0, 0, 0)  # type: ignore[no-any-return]


class Race(rf.Program):
    """Two solvers that differ in their instructions alone."""

    def __init__(self, accept: Any = None) -> None:
        self.fast = rf.Generate("problem -> answer")
        self.slow = rf.Generate("problem -> answer")
        self.fast.signature = self.fast.signature.with_instructions("Be fast.")
        self.slow.signature = self.slow.signature.with_instructions("Be slow.")
        self.accept = accept

    def plan(self, problem: Any) -> Any:
        bodies = [lambda site=site: site(problem=problem) for site in (self.slow, self.fast)]
        return rf.answer(rf.race(*bodies, accept=self.accept))


def answers(prompt: str, seed: int | None, index: int) -> str:
    return "\\boxed{fast}" if "fast" in prompt else "slow and long " * 20 + "\\boxed{slow}"


def seconds(request: Any, index: int) -> float:
    return 0.05 if "Be fast" in str(request.prompt.messages) else 5.0


def test_the_first_result_wins_and_the_loser_leaves_the_engine() -> None:
    lm = rf.scripted(answers, latency=seconds, max_tokens=300)
    with dspy.context(lm=lm):
        out = Race()(problem="p")
    assert out.answer == "fast"
    assert out.run.wall_s < 1
    assert {span.node: span.outcome for span in out.run.spans} == {
        "race.2/fast": "done",
        "race.1/slow": "cancelled",
    }
    slow = next(span for span in out.run.spans if span.outcome == "cancelled")
    assert slow.tokens_saved == 300 - slow.output_tokens
    assert out.run.usage.tokens_saved == slow.tokens_saved
    assert idle(lm)


def test_a_result_that_is_not_accepted_loses_and_so_does_one_that_raises() -> None:
    lm = rf.scripted(answers, latency=lambda request, index: seconds(request, index) / 25)
    with dspy.context(lm=lm):
        out = Race(accept=lambda record: record.answer == "slow")(problem="p")
        assert out.answer == "slow"
        assert "not accepted" in out.run.failures[0]
        with pytest.raises(RunError, match="all 2 branches"):
            Race(accept=lambda record: False)(problem="p")

    class Half(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return {"x": rf.race(lambda: rf.call(lambda: 1 / 0), lambda: rf.call(lambda: 7))}

    with dspy.context(lm=lm):
        assert Half()(problem="p").x == 7


class Agreed(rf.Program):
    def __init__(self, n: int = 8, need: int | None = None, join: Any = rf.quorum) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.n, self.need, self.join = n, need, join

    def plan(self, problem: Any) -> Any:
        drafts = self.solve(problem=problem, n=self.n)
        options = {"need": self.need} if self.need else {}
        return rf.answer(self.join(drafts, by="answer", **options))


def test_a_quorum_ends_its_group_when_the_rest_cannot_change_the_outcome() -> None:
    lm = rf.scripted(lambda prompt, seed, index: "\\boxed{1}", latency=lambda request, index: 0.05 + 0.05 * index)
    with dspy.context(lm=lm):
        out = Agreed()(problem="p")
    outcomes = [span.outcome for span in out.run.spans]
    assert out.answer == "1"
    assert 4 <= outcomes.count("done") <= 5, "the first four of eight win even a tie"
    assert outcomes.count("cancelled") == 8 - outcomes.count("done")
    assert out.run.complete
    assert out.run.failures == []
    assert idle(lm)


def test_a_quorum_of_two_needs_two() -> None:
    texts = {0: "1", 1: "2", 2: "2"}
    lm = rf.scripted(
        lambda prompt, seed, index: f"\\boxed{{{texts.get(index, '3')}}}", latency=lambda r, index: 0.05 + 0.05 * index
    )
    with dspy.context(lm=lm):
        out = Agreed(need=2)(problem="p")
        assert out.answer == "2"
        assert out.run.usage.cancelled_calls >= 4
    different = rf.scripted(lambda prompt, seed, index: f"\\boxed{{{index}}}")
    with dspy.context(lm=different), pytest.raises(AnswerError, match="no 2 of 8 branches agree"):
        Agreed(need=2)(problem="p")


def test_a_list_that_is_read_otherwise_too_runs_to_its_end() -> None:
    class Both(Agreed):
        def plan(self, problem: Any) -> Any:
            drafts = self.solve(problem=problem, n=6)
            return {"winner": rf.quorum(drafts, by="answer").answer, "all": drafts.answer}

    lm = rf.scripted("\\boxed{1}", latency=0.02)
    with dspy.context(lm=lm):
        out = Both()(problem="p")
    assert out.all == ["1"] * 6
    assert out.run.usage.cancelled_calls == 0


def test_forks_end_early_too() -> None:
    class Forked(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")
            self.check = rf.Generate("problem, draft -> answer")

        def plan(self, problem: Any) -> Any:
            def branch() -> Any:
                return self.check(problem=problem, draft=self.solve(problem=problem).text).answer

            return {"x": rf.quorum(rf.fork(6, branch), need=2)}

    lm = rf.scripted("\\boxed{1}", latency=0.05, max_running=2)
    with dspy.context(lm=lm):
        out = Forked()(problem="p")
    assert out.x == "1"
    assert out.run.usage.cancelled_calls > 0
    assert idle(lm)


def test_a_cancelled_task_leaves_nothing_behind_and_the_record_tells() -> None:
    lm = rf.scripted("word " * 50 + "\\boxed{1}", latency=1.0)
    program = rf.PDR(widths=(4, 2))

    async def main() -> BaseException:
        with dspy.context(lm=lm):
            task = asyncio.ensure_future(program.acall(problem="p"))
            await asyncio.sleep(0.3)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            return result  # type: ignore[no-any-return]

    error = asyncio.run(main())
    assert isinstance(error, asyncio.CancelledError)
    assert idle(lm)


def test_cancelling_an_anyio_scope_cancels_the_run() -> None:
    lm = rf.scripted("\\boxed{1}", latency=5.0)

    async def main() -> None:
        with dspy.context(lm=lm), anyio.move_on_after(0.2) as scope:
            await rf.SelfConsistency(n=4).acall(problem="p")
        assert scope.cancelled_caught

    anyio.run(main)
    assert idle(lm)


def test_the_stream_tells_what_happens_and_closing_it_cancels() -> None:
    lm = rf.scripted("one two three \\boxed{1}", latency=lambda request, index: 0.05 + 0.2 * index)

    async def whole() -> list[rf.events.Event]:
        with dspy.context(lm=lm):
            return [event async for event in Agreed(n=4).stream(problem="p")]

    seen = asyncio.run(whole())
    kinds = [type(event).__name__ for event in seen]
    assert kinds.count("BranchStarted") == 4
    assert kinds.count("BranchEnded") + kinds.count("Cancelled") == 4
    assert kinds.count("Cancelled") == 2
    assert kinds[-3:] == ["Joined", "Answer", "Finished"]
    finished = seen[-1]
    assert isinstance(finished, rf.events.Finished)
    assert finished.output.answer == "1"
    tokens = "".join(e.text for e in seen if isinstance(e, rf.events.Token) and e.indices == (0,))
    assert tokens == "one two three \\boxed{1}"
    assert [event.at_s for event in seen] == sorted(event.at_s for event in seen)

    async def part() -> None:
        with dspy.context(lm=lm):
            async with contextlib.aclosing(Agreed(n=4).stream(problem="q")) as events:
                async for event in events:
                    if isinstance(event, rf.events.Token):
                        break

    asyncio.run(part())
    assert idle(lm)


def test_a_stream_raises_what_the_run_raises() -> None:
    async def main() -> None:
        with dspy.context(lm=rf.scripted(ValueError("broken"))):
            async for _ in rf.ChainOfThought().stream(problem="p"):
                pass

    with pytest.raises(rf.ReasonFlowError, match=r"broken|failed"):
        asyncio.run(main())


def test_identical_concurrent_calls_are_one_run() -> None:
    asked: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return "\\boxed{1}"

    lm = rf.scripted(answer, latency=0.3)
    program = rf.SelfConsistency(n=3)
    outs: list[Any] = []

    def ask(problem: str) -> None:
        with dspy.context(lm=lm):
            outs.append(program(problem=problem))

    threads = [threading.Thread(target=ask, args=(problem,)) for problem in ("p", "p", "p", "q")]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert len(asked) == 6
    assert len({id(out.run) for out in outs}) == 2
    assert len({id(out) for out in outs}) == 4
    ask("p")
    assert len(asked) == 9, "the run in flight is joined, not a finished one"


def test_dspy_is_told_of_what_cancelled_samples_had_taken() -> None:
    lm = rf.scripted(answers, latency=seconds, max_tokens=300)
    with dspy.context(lm=lm, track_usage=True), dspy.utils.usage_tracker.track_usage() as tracker:
        run = Race()(problem="p").run
    told = tracker.get_total_tokens()["scripted"]
    assert told["total_tokens"] == run.usage.total_tokens
    assert len(lm.history) == 1, "a call without any result is no entry"


def test_a_stream_read_on_the_runtimes_own_loop_loses_no_event() -> None:
    lm = rf.scripted("\\boxed{1}")

    async def read() -> list[str]:
        return [type(event).__name__ async for event in rf.SelfConsistency(n=2).stream(problem="p")]

    with dspy.context(lm=lm):
        kinds = lm.engine.runtime.run(read)
    assert kinds.count("BranchEnded") == 2
    assert kinds[-3:] == ["Joined", "Answer", "Finished"]
