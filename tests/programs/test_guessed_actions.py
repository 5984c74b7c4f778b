"""The guesses of one run, step by step: what starts, what is taken, what is counted, and what never happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.programs.bounded_tools import ToolTimeout, bounded
from reasonflow.programs.guessed_actions import Ahead, Claiming, GuessedActions, Guesses, Watched, call_key, fits
from tests.programs.tool_agents import LONG_S, Tools

# The time that is saved -----------------------------------------------------------------------------------------------


def at_once(work: Callable[[], Any]) -> Callable[[], None]:
    """A guess that is there before the agent's own model is asked."""
    asyncio.run(work())
    return lambda: None


class Steps:
    """A predictor that says what it is told to: to the small model, and to the agent's own."""

    def __init__(self, guesses: list[Any], calls: list[Any]) -> None:
        self.guesses, self.calls = iter(guesses), iter(calls)

    async def acall(self, **inputs: Any) -> Any:
        said = next(self.guesses)
        if isinstance(said, Exception):
            raise said
        return SimpleNamespace(next_tool_name=said[0], next_tool_args=said[1])

    def __call__(self, **inputs: Any) -> Any:
        return next(self.calls)


def guessed(
    steps: Steps, tools: list[Any], free: set[str], *, guesses: int = 1, clock: Callable[[], float] = lambda: 0.0
) -> tuple[GuessedActions, Callable[[], Any]]:
    """The guesses, and one step of the agent: it gives what the tool of its call gives."""
    named = {tool.name: tool for tool in (t if isinstance(t, dspy.Tool) else dspy.Tool(t) for t in tools)}
    agent = SimpleNamespace(react=steps, tools=named)
    found = GuessedActions(
        agent, Ahead(frozenset(free), None, guesses, {}, clock), steps=100, spawn=at_once, awaits=False
    )
    react, claiming = Watched(steps, found), {name: Claiming(tool, found) for name, tool in named.items()}

    def one() -> Any:
        name, arguments = react()
        return claiming[name](**arguments)

    return found, one


def test_seconds_are_saved_up_to_where_the_agent_asks() -> None:
    now, running, asked = [0.0], threading.Event(), threading.Event()
    mine = threading.current_thread()

    def clock() -> float:
        if running.is_set() and threading.current_thread() is mine:
            now[0] = 2.0
            asked.set()
        return now[0]

    def slow(word: str) -> str:
        running.set()
        assert asked.wait(LONG_S)
        now[0] = 9.0
        return word

    def steps(**inputs: Any) -> Any:
        assert running.wait(LONG_S)
        return "slow", {"word": "six"}

    told = Steps([("slow", {"word": "six"})], [])
    found, one = guessed(told, [slow], {"slow"}, clock=clock)
    told.calls = iter(steps, None)
    assert one() == "six"
    running.clear()
    assert (found.told().seconds_saved, found.told().hits) == (2.0, 1)


def test_a_call_that_is_not_taken_is_wasted_time_and_waiting_for_one_that_fails_is_lost() -> None:
    now = [0.0]
    ended = threading.Event()

    def fails(word: str) -> str:
        if word == "own":
            return word
        now[0] += 3.0
        raise OSError("gone")

    class Waits(Steps):
        def __call__(self, **inputs: Any) -> Any:
            assert found.started[0].done.result(LONG_S) is None
            ended.set()
            return super().__call__()

    found, one = guessed(
        Waits([("fails", {"word": "six"})], [("fails", {"word": "own"})]), [fails], {"fails"}, clock=lambda: now[0]
    )
    assert one() == "own"
    told = found.told()
    assert (told.tool_seconds_wasted, told.seconds_saved, told.hits, told.discarded) == (3.0, 0.0, 0, 1)


def test_at_its_deadline_a_guessed_call_is_the_agents() -> None:
    never = threading.Event()

    def hangs(word: str) -> str:
        never.wait(LONG_S)
        return word

    found, one = guessed(
        Steps([("hangs", {"word": "six"})], [("hangs", {"word": "six"})]), [bounded(hangs, deadline_s=0.01)], {"hangs"}
    )
    with pytest.raises(ToolTimeout, match="hangs gave nothing"):
        one()
    never.set()
    assert (found.told().hits, len(found.started)) == (1, 1)


# Effects --------------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["six", "seven", "", "7"])
ARGUMENTS = st.one_of(
    st.fixed_dictionaries({"word": WORDS}),
    st.fixed_dictionaries({"text": WORDS}),
    st.dictionaries(st.sampled_from(["word", "text", "times", "self"]), st.one_of(WORDS, st.integers(0, 3), st.none())),
    st.sampled_from([None, [], "word", 7, {"word": float("nan")}, {"word": {1, 2}}]),
)
NAMES = st.sampled_from(["look_up", "send", "finish", "sendd", "", "Send", None, 7])
CALLS = st.one_of(
    st.tuples(st.just("look_up"), st.fixed_dictionaries({"word": WORDS})),
    st.tuples(st.just("send"), st.fixed_dictionaries({"text": WORDS})),
)


@given(st.lists(st.tuples(CALLS, st.lists(st.tuples(NAMES, ARGUMENTS), min_size=2, max_size=2)), max_size=6))
def test_whatever_is_guessed_no_effect_comes_of_it(rounds: list[Any]) -> None:
    tools = Tools()
    steps = Steps([guess for _, guesses in rounds for guess in guesses], [call for call, _ in rounds])
    found, one = guessed(steps, [tools.look_up, tools.send], {"look_up"}, guesses=2)
    read = [one() for _ in rounds]
    own = [call for call, _ in rounds]
    assert read == [f"{a['word']} is found" if name == "look_up" else "sent" for name, a in own]
    assert tools.sent == [True for name, _ in own if name == "send"]
    told = found.told()
    assert (told.effects, told.calls, told.asked) == (0, len(own), 2 * len(own))
    tool = dspy.Tool(tools.look_up)
    fitting = [
        {
            call_key(*each)
            for each in guesses
            if each[0] == "look_up" and isinstance(each[1], dict) and fits(tool, each[1])
        }
        for _, guesses in rounds
    ]
    assert told.started == sum(len(keys - {None}) for keys in fitting)
    for call in found.started:
        call.done.result(LONG_S)
    assert told.started == len(tools.looked_up) - (sum(name == "look_up" for name, _ in own) - told.hits)


def test_what_the_tool_would_not_take_is_not_started() -> None:
    tools = Tools()
    wrong = [{}, {"word": 7}, {"word": "six", "more": 1}, {"word": "six", "times": "often"}, None, {"word": {1}}]
    steps = Steps([("look_up", arguments) for arguments in wrong], [("look_up", {"word": "six"})] * len(wrong))
    found, one = guessed(steps, [tools.look_up], {"look_up"})
    assert {one() for _ in wrong} == {"six is found"}
    assert found.told().started == 0
    assert not found.failures


def test_equal_guesses_start_one_call() -> None:
    tools = Tools()
    arguments = [{"word": "six", "times": 2}, {"times": 2, "word": "six"}, {"word": "six"}]
    steps = Steps([("look_up", each) for each in arguments], [("look_up", arguments[1])])
    found, one = guessed(steps, [tools.look_up], {"look_up"}, guesses=3)
    assert one() == "six is foundsix is found"
    told = found.told()
    assert (told.asked, told.started, told.hits, told.discarded) == (3, 2, 1, 1)


def test_a_guess_counts_for_its_own_step_only() -> None:
    tools = Tools()
    steps = Steps(
        [("look_up", {"word": "seven"}), ("look_up", {"word": "eight"})],
        [("look_up", {"word": "six"}), ("look_up", {"word": "seven"})],
    )
    found, one = guessed(steps, [tools.look_up], {"look_up"})
    assert [one(), one()] == ["six is found", "seven is found"]
    assert (found.told().started, found.told().hits) == (2, 0)


def test_a_call_is_taken_once() -> None:
    tools = Tools()
    found, one = guessed(
        Steps([("look_up", {"word": "six"})], [("look_up", {"word": "six"})]), [tools.look_up], {"look_up"}
    )
    assert one() == Claiming(dspy.Tool(tools.look_up), found)(word="six") == "six is found"
    assert tools.looked_up == [("six", False), ("six", True)]
    assert (found.told().hits, found.told().calls) == (1, 2)


def test_a_guess_is_one_call_of_the_small_model() -> None:
    prompts: list[str] = []

    def says(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        return "no step at all"

    agent, adapter = Tools().agent(), dspy.ChatAdapter()
    small = Ahead(frozenset({"look_up"}), rf.scripted(says), 2, {"temperature": 0.7}, lambda: 0.0)
    found = GuessedActions(agent, small, steps=1, spawn=at_once, awaits=False)
    with dspy.context(adapter=adapter, lm=small.small):
        found.begin({"problem": "p", "trajectory": ""})
        found.begin({"problem": "p", "trajectory": ""})  # its steps are over
        assert len(prompts) == 2
        with pytest.raises(Exception, match="parse"):
            agent.react(problem="p", trajectory="")
    assert len(prompts) == 4, "the adapter in use asks again, as before"
    assert [text.partition(":")[0] for text in found.failures] == ["a guess failed"]


def test_notes_of_a_call_are_the_runs_only_where_it_is_read() -> None:
    def floods(word: str) -> str:
        return word * 30_000

    class One(rf.Program):
        def __init__(self, own: str) -> None:
            self.own = own

        def plan(self, problem: Any) -> Any:
            return {"answer": rf.call(self.read, problem)}

        def read(self, problem: str) -> str:
            steps = Steps([("floods", {"word": "six"})], [("floods", {"word": self.own})])
            return str(guessed(steps, [bounded(floods)], {"floods"})[1]())

    with dspy.context(lm=rf.scripted("")):
        hit, miss = One("six")(problem=""), One("x")(problem="")
    assert ["90000 characters cut" in text for text in hit.run.repairs] == [True]
    assert ["30000 characters cut" in text for text in miss.run.repairs] == [True]


def test_guesses_are_figures() -> None:
    none, some = Guesses(), Guesses(asked=4, started=3, hits=1, calls=2, seconds_saved=1.5, waste_tokens=30)
    assert (none.hit_rate, none.discarded, none.to_json()["effects"]) == (0.0, 0, 0)
    assert (some.hit_rate, some.discarded) == (0.5, 2)
    assert str(some).startswith("guesses: 1 of 2 tool calls hit, 1.50 s saved; 4 asked, 3 started, 2 discarded")
