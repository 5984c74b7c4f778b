"""Guessed tool calls: what starts ahead of time, what an agent reads of it, and what never happens."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, UnknownName
from reasonflow.gates.scores import TokenProbability
from reasonflow.programs.bounded_tools import ToolTimeout, bounded
from reasonflow.programs.guessed_actions import Ahead, Claiming, GuessedActions, Guesses, Watched, call_key, fits
from reasonflow.programs.speculative import AGENT, SMALL, SpeculativePlanner
from reasonflow.programs.speculative_actions import ActionsAhead

FINAL = "[[ ## reasoning ## ]]\nSo.\n\n[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"
LONG_S = 10.0
"""Whoever waits longer than that waits for ever."""


def step(name: str, **arguments: Any) -> str:
    """What a model writes to call a tool."""
    return (
        f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
        f"[[ ## next_tool_args ## ]]\n{json.dumps(arguments)}\n\n[[ ## completed ## ]]"
    )


def guess(name: str, **arguments: Any) -> Callable[..., str]:
    """A small model that guesses this first, then the end."""
    return lambda prompt, seed, index: step("finish") if "observation_0" in prompt else step(name, **arguments)


def is_guessed() -> bool:
    """Whether a guess has started what runs here."""
    return threading.current_thread().name.endswith("guessed")


class Tools:
    """One tool without effects, one with."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.looked_up: list[tuple[str, bool]] = []
        """Each word, and whether the agent asked for it."""
        self.sent: list[bool] = []
        self.fails = 0

    def look_up(self, word: str, times: int = 1) -> str:
        """Looks up a word."""
        self.looked_up.append((word, not is_guessed()))
        self.begun.set()
        if len(self.looked_up) <= self.fails:
            raise OSError(f"no page of {word}")
        return f"{word} is found" * times

    def send(self, text: str) -> str:
        """Sends a letter."""
        self.sent.append(not is_guessed())
        return "sent"

    def agent(self, **more: Any) -> dspy.ReAct:
        return dspy.ReAct("problem -> answer", [self.look_up, self.send], max_iters=4, **more)


class Large:
    """Looks up "six", then ends. It answers when `after` has happened."""

    def __init__(self, after: threading.Event | None = None, *, calls: str = step("look_up", word="six")) -> None:
        self.after, self.calls = after, calls
        self.prompts: list[str] = []

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        self.prompts.append(prompt)
        if "[[ ## next_tool_name ## ]]" not in prompt:
            return FINAL.format(42)
        if "observation_0" in prompt:
            return step("finish")
        assert self.after is None or self.after.wait(LONG_S)
        return self.calls


def ask(
    tools: Tools, small: Any, large: Large, *, run: bool = False, small_engine: Any = None, **more: Any
) -> tuple[Any, ActionsAhead]:
    """What an agent with a guessed `look_up` gives, by itself or as a step of a program on the small engine."""
    little = rf.scripted(small, model="small", **(small_engine or {}))
    agent = tools.agent()
    agent.set_lm(rf.scripted(large, model="large"))
    ahead = ActionsAhead(agent, [tools.look_up], small=little, **more)
    with dspy.context(lm=little):
        return (Uses(ahead) if run else ahead)(problem="What is 6 times 7?"), ahead


class Uses(rf.Program):
    """An agent as a step."""

    def __init__(self, agent: ActionsAhead, cap: int | None = None) -> None:
        self.agent = agent
        self.cap = cap or agent.max_iters + 1 + agent.most_guesses

    def plan(self, problem: Any) -> Any:
        found = rf.call(self.agent, problem=problem, cap=self.cap)
        return {"answer": found["answer"], "guesses": found["guesses"]}


# Hits and misses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [False, True])
def test_what_was_guessed_is_there_when_it_is_asked_for(run: bool) -> None:
    tools = Tools()
    large = Large(tools.begun)
    out, _ = ask(tools, guess("look_up", word="six"), large, run=run)
    assert (out.answer, tools.looked_up) == ("42", [("six", False)])
    assert any("six is found" in prompt for prompt in large.prompts)
    found = out.guesses
    assert (found.asked, found.started, found.hits, found.discarded, found.calls) == (2, 1, 1, 0, 1)
    assert (found.hit_rate, found.effects, found.tool_seconds_wasted) == (1.0, 0, 0.0)
    assert found.seconds_saved >= 0.0
    assert found.to_json()["hit_rate"] == 1.0


def test_another_word_is_another_call() -> None:
    tools = Tools()
    out, _ = ask(tools, guess("look_up", word="seven"), Large(tools.begun))
    assert tools.looked_up == [("seven", False), ("six", True)]
    assert (out.guesses.started, out.guesses.hits, out.guesses.discarded) == (1, 0, 1)
    assert out.guesses.seconds_saved == 0.0


def test_guesses_are_calls_of_the_run_off_its_path() -> None:
    tools = Tools()
    out, _ = ask(tools, guess("look_up", word="six"), Large(tools.begun), run=True)
    spans, found = out.run.spans, out.guesses
    asides = [span for span in spans if span.inner == "aside"]
    assert sorted(span.indices for span in asides) == [(0, 0), (1, 0)]
    assert sorted(span.indices for span in spans if not span.inner) == [(0,), (1,), (2,)]
    assert not set(asides) & set(out.run.critical_path)
    assert out.run.usage.calls == 5
    assert found.waste_tokens == sum(span.output_tokens for span in asides if span.indices == (1, 0)) > 0
    assert str(found) in out.run.notes[-1]
    assert not out.run.repairs
    assert not out.run.failures


def test_waste_is_counted_without_a_run_too() -> None:
    tools = Tools()
    out, _ = ask(tools, guess("look_up", word="seven"), Large(tools.begun))
    one = rf.scripted(step("look_up", word="seven"))
    with dspy.context(lm=one, track_usage=True):
        (usage,) = (
            dspy.Predict("problem -> next_thought, next_tool_name, next_tool_args")(problem="").get_lm_usage().values()
        )
    assert out.guesses.waste_tokens >= usage["completion_tokens"] > 0


def test_a_guess_that_raises_is_made_anew_by_the_agent() -> None:
    tools = Tools()
    tools.fails = 1
    large = Large(tools.begun)
    out, _ = ask(tools, guess("look_up", word="six"), large)
    assert tools.looked_up == [("six", False), ("six", True)]
    assert any("six is found" in prompt for prompt in large.prompts)
    assert not any("no page" in prompt for prompt in large.prompts)
    assert (out.guesses.hits, out.guesses.discarded) == (0, 1)


@pytest.mark.parametrize("run", [False, True])
def test_nobody_waits_for_a_slow_small_model(run: bool) -> None:
    tools = Tools()
    out, _ = ask(tools, guess("look_up", word="six"), Large(), run=run, small_engine={"latency": 3600.0})
    assert (out.answer, tools.looked_up) == ("42", [("six", True)])
    assert (out.guesses.asked, out.guesses.started) == (2, 0)
    if run:
        assert out.run.usage.cancelled_calls == 2


@pytest.mark.parametrize("small", ["no step at all", BackendError("out of memory")])
def test_a_small_model_that_fails_is_noted(small: Any) -> None:
    tools, gone = Tools(), threading.Event()

    def says(prompt: str, seed: int | None, index: int) -> Any:
        gone.set()
        return small

    out, ahead = ask(tools, says, Large(gone), run=True)
    assert (out.answer, out.guesses.started, ahead.most_guesses) == ("42", 0, 4)
    assert not out.run.failures
    assert not out.run.repairs
    spans = [span for span in out.run.spans if span.inner == "aside"]
    assert len(spans) <= 2, "what cannot be read is not asked again"


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
    found = GuessedActions(agent, Ahead(frozenset(free), None, guesses, clock), steps=100, spawn=at_once, awaits=False)
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
    small = Ahead(frozenset({"look_up"}), rf.scripted(says), 2, lambda: 0.0)
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


# Async ----------------------------------------------------------------------------------------------------------------


def test_async_tools_are_awaited_where_the_agent_is() -> None:
    loops: list[Any] = []
    tools = Tools()

    async def fetch(word: str) -> str:
        """Fetches."""
        loops.append(asyncio.get_running_loop())
        tools.begun.set()
        await asyncio.sleep(0)
        return f"{word} is fetched"

    agent = dspy.ReAct("problem -> answer", [fetch, tools.send], max_iters=4)
    large = Large(tools.begun, calls=step("fetch", word="six"))
    agent.set_lm(rf.scripted(large, model="large"))
    small = rf.scripted(guess("fetch", word="six"), model="small")
    ahead = ActionsAhead(agent, [fetch], small=small)

    async def run() -> Any:
        loops.append(asyncio.get_running_loop())
        return await ahead.acall(problem="p")

    out = asyncio.run(run())
    assert loops == [loops[0]] * 2
    assert any("six is fetched" in prompt for prompt in large.prompts)
    assert (out.answer, out.guesses.hits, out.guesses.discarded) == ("42", 1, 0)


def test_the_async_side_uses_plain_tools_and_discards_what_is_late() -> None:
    for latency, hits in ((None, 1), (3600.0, 0)):
        tools = Tools()
        agent = tools.agent()
        agent.set_lm(rf.scripted(Large(None if hits == 0 else tools.begun), model="large"))
        small = rf.scripted(guess("look_up", word="six"), model="small", latency=latency)
        out = asyncio.run(ActionsAhead(agent, ["look_up"], small=small).acall(problem="p"))
        assert (out.answer, out.guesses.hits, len(tools.looked_up)) == ("42", hits, 1)


def test_what_the_agent_raises_comes_out_as_it_is() -> None:
    agent = Tools().agent()
    agent.set_lm(rf.scripted(KeyError("no such thing"), model="large"))
    ahead = ActionsAhead(agent, ["look_up"], small=rf.scripted(guess("look_up", word="six"), latency=3600.0))
    with pytest.raises(Exception, match="scripted engine failed") as plain:
        agent(problem="p")
    for run in (lambda: ahead(problem="p"), lambda: asyncio.run(ahead.acall(problem="p"))):
        with pytest.raises(type(plain.value), match="scripted engine failed"):
            run()


# Several runs, copies, files ------------------------------------------------------------------------------------------


def test_runs_at_once_do_not_share_guesses() -> None:
    words = [f"w{number}" for number in range(6)]
    begun = {word: threading.Event() for word in words}
    seen: list[str] = []

    def look_up(word: str) -> str:
        """Looks up a word."""
        seen.append(word)
        begun[word].set()
        return f"<{word}>"

    def word_of(prompt: str) -> str:
        return prompt.rpartition("[[ ## problem ## ]]")[2].split()[0]

    def slowly(prompt: str, seed: int | None, index: int) -> str:
        assert begun[word_of(prompt)].wait(LONG_S)
        return says(prompt, seed, index)

    def says(prompt: str, seed: int | None, index: int) -> str:
        word = word_of(prompt)
        if "[[ ## next_tool_name ## ]]" not in prompt:
            return FINAL.format(word if f"<{word}>" in prompt else "mixed")
        return step("finish") if "observation_0" in prompt else step("look_up", word=word)

    ahead = ActionsAhead(
        dspy.ReAct("problem -> answer", [look_up], max_iters=3), [look_up], small=rf.scripted(says, model="small")
    )
    ahead.react.lm = ahead.extract.predict.lm = rf.scripted(slowly, model="large")
    examples = [dspy.Example(problem=word).with_inputs("problem") for word in words]
    outs = dspy.Parallel(num_threads=6, disable_progress_bar=True)([(ahead, each.inputs()) for each in examples])
    assert [out.answer for out in outs] == words
    assert sorted(seen) == sorted(words)
    assert [out.guesses.hits for out in outs] == [1] * 6


def test_it_is_the_agent_it_was_made_of() -> None:
    tools = Tools()
    agent = tools.agent()
    ahead = ActionsAhead(agent, [tools.look_up])
    assert ahead.named_predictors() == agent.named_predictors()
    assert ahead.dump_state() == agent.dump_state()
    agent.react.signature = agent.react.signature.with_instructions("Look it up.")
    again = ActionsAhead(tools.agent(), ["look_up"])
    again.load_state(agent.dump_state())
    assert again.react.signature.instructions == "Look it up."
    copied = ahead.deepcopy()
    assert copied.ahead.free == {"look_up"}
    assert copied.react is not ahead.react
    assert (ahead.with_effects, ahead.most_guesses) == (("send",), 4)


def test_traces_have_what_the_agent_did_alone() -> None:
    tools = Tools()
    agent = tools.agent()
    agent.set_lm(rf.scripted(Large(tools.begun), model="large"))
    small = rf.scripted(guess("look_up", word="six"), model="small")
    ahead = ActionsAhead(agent, ["look_up"], small=small)
    with dspy.context(trace=[]):
        ahead(problem="p")
        trace = dspy.settings.trace
    assert [entry[0] for entry in trace] == [ahead.react, ahead.react, ahead.extract.predict]


def word_up(word: str) -> str:
    """Looks up a word."""
    return word


def test_it_is_pickled_with_its_program(tmp_path: Path) -> None:
    gate = rf.Gate(TokenProbability(), 0.9)
    program = SpeculativePlanner("problem -> answer", gate, tools=[word_up], actions=["word_up"])
    program.save(tmp_path / "planner", save_program=True)
    again = dspy.load(tmp_path / "planner", allow_pickle=True)
    assert again.agent.ahead.free == {"word_up"}
    assert again.calls == program.calls == 11


# The planner ----------------------------------------------------------------------------------------------------------


def planner(given: Tools, **more: Any) -> SpeculativePlanner:
    options = {"tools": [given.look_up, given.send], "actions": [given.look_up], "judge": False, **more}
    return SpeculativePlanner("problem -> answer", rf.Gate(TokenProbability(), 0.9), **options)


def small_of(sure: float) -> Callable[..., Any]:
    def says(prompt: str, seed: int | None, index: int) -> Any:
        if "[[ ## next_tool_name ## ]]" in prompt:
            return guess("look_up", word="six")(prompt, seed, index)
        return "\\boxed{", {"7": sure}, "}"

    return says


def test_a_planner_starts_actions_of_its_agent_ahead() -> None:
    tools = Tools()
    small, large = rf.scripted(small_of(0.5), model="small", top_logprobs=20), rf.scripted(Large(tools.begun))
    program = planner(tools, small=small, large=large)
    with dspy.context(lm=rf.scripted("unused")):
        out = program(problem="What is 6 times 7?")
        assert program.explain().bound.calls == 1 + 6 + 5
    assert (out.answer, out.source, out.guesses.hits) == ("42", AGENT, 1)
    assert len(tools.looked_up) == 1
    assert any("1 of 1 tool calls hit" in note for note in out.run.notes)
    assert not any("is the large one" in note for note in out.run.notes)


def test_without_an_agent_there_are_no_guesses() -> None:
    tools = Tools()
    with dspy.context(lm=rf.scripted(small_of(0.99), top_logprobs=20)):
        out = planner(tools)(problem="p")
    assert (out.answer, out.source, out.guesses) == ("7", SMALL, Guesses())
    assert not tools.looked_up
    assert any("is the large one" in note for note in out.run.notes)


def test_an_agent_of_ones_own_is_guessed_and_its_calls_are_counted_on_top() -> None:
    tools = Tools()
    program = planner(tools, tools=(), agent=tools.agent(), calls=5, guesses=2)
    assert isinstance(program.agent, ActionsAhead)
    assert program.calls == 5 + 2 * 4


def test_what_cannot_be_guessed_is_refused() -> None:
    tools = Tools()
    with pytest.raises(UnknownName, match=r"unknown tool 'lookup'\nwhy: known: look_up, send"):
        planner(tools, actions=["lookup"])
    with pytest.raises(UnknownName, match="unknown tool 'finish'"):
        planner(tools, actions=["finish"])
    with pytest.raises(InputError, match="actions are a list of tools"):
        planner(tools, actions="look_up")
    with pytest.raises(InputError, match="actions of a ChainOfThought cannot be guessed"):
        planner(tools, tools=(), agent=rf.ChainOfThought())
    with pytest.raises(InputError, match="another function than the one declared"):
        planner(tools, actions=[Tools().look_up])
    with pytest.raises(InputError, match="a hedged agent may call send"):
        planner(tools, hedge=True)
    with pytest.raises(InputError, match="0 guesses a step"):
        planner(tools, guesses=0)
    with pytest.raises(InputError, match="no tool is declared"):
        ActionsAhead(tools.agent(), [])
    with pytest.raises(InputError, match="guessed already"):
        ActionsAhead(ActionsAhead(tools.agent(), ["send"]), ["send"])
    with pytest.raises(InputError, match="an output field is called 'source'"):
        SpeculativePlanner("problem -> source", rf.Gate(TokenProbability(), 0.9), tools=[word_up])
    assert planner(tools, hedge=True, actions=["look_up", dspy.Tool(tools.send)]).agent.with_effects == ()


def test_guesses_are_figures() -> None:
    none, some = Guesses(), Guesses(asked=4, started=3, hits=1, calls=2, seconds_saved=1.5, waste_tokens=30)
    assert (none.hit_rate, none.discarded, none.to_json()["effects"]) == (0.0, 0, 0)
    assert (some.hit_rate, some.discarded) == (0.5, 2)
    assert str(some).startswith("guesses: 1 of 2 tool calls hit, 1.50 s saved; 4 asked, 3 started, 2 discarded")
