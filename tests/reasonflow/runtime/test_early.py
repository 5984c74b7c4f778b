"""Joins that do not wait for their whole list: what reads only them starts, the rest of the list goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.clock import VirtualClock
from reasonflow.errors import RunError
from reasonflow.plan.nodes import Get, Input, Node, Plan, Quorum, Vote
from reasonflow.plan.shapes import VALUE
from reasonflow.runtime.early import Decided, Early
from reasonflow.runtime.values import FREE, Cost, Hole


class Judged(rf.Program):
    """Drafts that are all given back, and a judgement of their winner."""

    def __init__(self, join: Callable[[Any], Any], n: int = 5, **options: Any) -> None:
        self.solve = rf.Generate("problem -> answer", **options)
        self.judge = rf.Generate("problem, winner -> answer")
        self.join, self.n = join, n

    def plan(self, problem: Any) -> Any:
        drafts = self.solve(problem=problem, n=self.n)
        return {"judged": self.judge(problem=problem, winner=self.join(drafts)).answer, "all": drafts.answer}


def majority(drafts: Any) -> Any:
    return rf.quorum(drafts, by="answer").answer


def timed(
    program: rf.Program, seconds: Sequence[float], judging: float, answers: Sequence[str] = ()
) -> tuple[Any, float]:
    """What a program gives whose drafts take so long, and the virtual seconds that took in all."""
    clock = VirtualClock()

    def latency(request: Any, index: int) -> float:
        return judging if "winner" in str(request.prompt.messages).lower() else seconds[index]

    def script(prompt: str, seed: int | None, index: int) -> str:
        return f"\\boxed{{{answers[index] if answers and 'winner' not in prompt.lower() else 1}}}"

    lm = rf.scripted(script, latency=latency, clock=clock)
    with dspy.context(lm=lm):
        out = program(problem="p")
    return out, clock.now()


JOINS: list[tuple[Callable[[Any], Any], int]] = [
    (majority, 3),
    (lambda drafts: rf.quorum(drafts.answer), 3),
    (lambda drafts: rf.vote(drafts, by="answer").text, 3),
    (lambda drafts: rf.quorum(drafts, by="answer", need=4).answer, 4),
    (lambda drafts: rf.quorum(drafts, by="answer", need=1).answer, 3),  # one would do, but another group could win
    (lambda drafts: drafts[0].answer, 1),
    (lambda drafts: drafts.answer[1], 2),
]


@pytest.mark.parametrize(("join", "after"), JOINS)
def test_the_step_behind_a_join_runs_beside_the_rest_of_the_list(join: Callable[[Any], Any], after: int) -> None:
    out, seconds = timed(Judged(join), [1, 2, 3, 4, 100], judging=96)
    assert seconds == max(100, after + 96)
    assert out.judged == "1"
    assert out.all == ["1"] * 5
    assert out.run.usage.cancelled_calls == 0
    assert out.run.failures == []


def test_waiting_for_the_whole_list_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed, seconds = timed(Judged(majority), [1, 2, 3, 4, 100], judging=97)
    with monkeypatch.context() as patch:
        patch.setattr("reasonflow.runtime.launch.lower", lambda plan: plan)
        waited, longer = timed(Judged(majority), [1, 2, 3, 4, 100], judging=97)
    assert (seconds, longer) == (100, 197)
    assert streamed.toDict() == waited.toDict()


def test_a_join_waits_while_an_item_that_comes_before_the_winner_is_missing() -> None:
    out, seconds = timed(Judged(lambda drafts: rf.quorum(drafts, by="answer").text), [50, 1, 2, 3, 100], judging=100)
    assert seconds == 150, "item 0 could be the first of the group"
    assert "decided after 4 of 5" in "".join(out.run.notes)


def test_a_join_that_stays_open_waits() -> None:
    out, seconds = timed(Judged(majority), [1, 2, 3, 4, 100], 10, ["1", "1", "2", "2", "2"])
    assert seconds == 110
    assert out.all == ["1", "1", "2", "2", "2"]
    assert out.run.notes == []


def test_min_branches_are_there_before_anything_starts() -> None:
    class Strict(Judged):
        def plan(self, problem: Any) -> Any:
            drafts = self.solve(problem=problem, n=5, min_branches=4)
            return {"judged": self.judge(problem=problem, winner=majority(drafts)).answer, "all": drafts.answer}

    _, seconds = timed(Strict(majority), [1, 2, 3, 4, 100], judging=100)
    assert seconds == 104


def test_the_record_and_the_events_say_so() -> None:
    out, _ = timed(Judged(majority), [1, 2, 3, 4, 100], judging=200)
    assert [note.rsplit(": ", 1)[1] for note in out.run.notes] == ["decided after 3 of 5"]
    assert "decided after 3 of 5" in str(out.run.explain())
    judge = out.run.spans[out.run.path[-1]]
    assert judge.node == "judge"
    assert len(out.run.path) == 2
    seen: list[Any] = []

    async def listen() -> None:
        async for event in Judged(majority).stream(problem="p"):
            seen.append(event)  # noqa: PERF401  # an async comprehension would hide those before an error

    with dspy.context(lm=rf.scripted("\\boxed{1}", latency=lambda request, index: 0.01 + 0.02 * index)):
        asyncio.run(listen())
    (joined,) = [event for event in seen if isinstance(event, rf.events.Joined)]
    assert (joined.branches, joined.after) == (5, 3)


def test_the_way_to_the_answer_leads_through_the_items_that_had_come() -> None:
    long = "word " * 200 + "\\boxed{1}"
    texts = ["\\boxed{1}", "\\boxed{1}", "\\boxed{1}", "\\boxed{1}", long]

    class Short(Judged):
        def plan(self, problem: Any) -> Any:
            drafts = self.solve(problem=problem, n=5)
            judged = self.judge(problem=problem, winner=majority(drafts)).answer
            again = self.judge(problem=problem, winner=judged).answer
            return {"judged": again, "size": rf.call(len, drafts)}

    def script(prompt: str, seed: int | None, index: int) -> str:
        return f"{'word ' * 150}\\boxed{{1}}" if "winner" in prompt.lower() else texts[index]

    with dspy.context(lm=rf.scripted(script, latency=lambda request, index: 0.01 + 0.05 * index)):
        run = Short(majority)(problem="p").run
    assert run.critical_path[0].node == "solve"
    assert len(run.critical_path) == 3
    assert run.critical_path[0].output_tokens < 10, "the longest draft is on no way to what took longest"


def test_an_unreadable_sample_is_no_hole_before_it_has_been_asked_for_again() -> None:
    asked: list[int] = []

    def script(prompt: str, seed: int | None, index: int) -> str:
        if "winner" in prompt.lower():
            return "\\boxed{9}"
        asked.append(index)
        return (
            "[[ ## answer ## ]]\n2" if len(asked) > 3 else "no field" if index == 0 else f"[[ ## answer ## ]]\n{index}"
        )

    program = Judged(lambda drafts: drafts[0].answer, n=3, style="fields", retries=1)
    with dspy.context(lm=rf.scripted(script, latency=lambda request, index: 0.01 + 0.02 * index)):
        out = program(problem="p")
    assert out.all == ["2", "1", "2"]
    assert len(asked) == 4


def test_a_list_that_fails_after_its_join_fails_the_run() -> None:
    async def item(number: int) -> Any:
        await asyncio.sleep(0.02 * number)
        return {"answer": "1"} if number < 3 else {}

    class Fields(rf.Program):
        def __init__(self) -> None:
            self.judge = rf.Generate("winner -> answer")

        def plan(self, problem: Any) -> Any:
            items = rf.fork(4, lambda number: rf.call(item, number))
            return {"judged": self.judge(winner=rf.vote(items, by="answer")["answer"]), "all": items}

    with dspy.context(lm=rf.scripted("\\boxed{1}")), pytest.raises(RunError, match="no field 'answer'"):
        Fields()(problem="p")


def test_a_run_that_is_cancelled_leaves_nothing() -> None:
    lm = rf.scripted("\\boxed{1}", latency=lambda request, index: 0.05 + 5.0 * (index > 3))

    async def main() -> None:
        with dspy.context(lm=lm):
            task = asyncio.ensure_future(Judged(majority).acall(problem="p"))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    counts = lm.engine.runtime.run(lm.engine.runtime.backend.counters)
    assert (counts.running, counts.waiting) == (0, 0)


# The count itself ---------------------------------------------------------------------------------------------------


def early(*joins: Any) -> tuple[Early, dict[int, Decided]]:
    """Joins over the list at position 0, and what has been decided."""
    places = tuple(range(1, len(joins) + 1))
    nodes = [Node(Input("list"), (), "list", VALUE, streams=places)]
    nodes += [Node(op, (0,), str(place), VALUE) for place, op in zip(places, joins, strict=True)]
    found: dict[int, Decided] = {}
    return Early(Plan(tuple(nodes), (0,), 0), 0, lambda join, decided: found.update({join: decided})), found


def test_items_come_in_any_order_and_costs_are_those_that_had_come() -> None:
    counting, found = early(Vote(None, str), Get(-1), Quorum(None, str, 4))
    counting.begin(4, None, FREE)
    costs = [Cost(sequential=number) for number in (10, 40, 20, 30)]
    counting.come(3, "b", costs[3])
    assert found.keys() == {2}
    counting.come(0, "a", costs[0])
    counting.come(2, "a", costs[2])
    assert found[1] == Decided(value="a", cost=costs[3], come=3, width=4)
    counting.come(1, "a", costs[1])
    assert 3 not in found, "the last item makes the list whole"


def test_holes_count_as_come_and_are_chosen_by_nobody() -> None:
    counting, found = early(Vote(None, str), Get(0))
    counting.begin(3, 1, FREE)
    counting.come(0, Hole("x", ValueError("lost")), FREE)
    assert found == {}
    counting.come(1, "a", FREE)
    assert found.keys() == {1}
    counting.close()
    counting.come(2, "b", FREE)
    assert found.keys() == {1}


def test_whatever_a_normaliser_raises_is_left_to_the_join_itself() -> None:
    def broken(text: str) -> str:
        raise ZeroDivisionError(text)

    counting, found = early(Vote(None, broken), Get(0))
    counting.begin(3, None, FREE)
    counting.come(0, "a", FREE)
    assert found.keys() == {2}
