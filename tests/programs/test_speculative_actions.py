"""Guessed tool calls: what starts ahead of time, what an agent reads of it, and what never happens."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, UnknownName
from reasonflow.gates.scores import TokenProbability
from reasonflow.programs.guessed_actions import Guesses
from reasonflow.programs.speculative import AGENT, SMALL, SpeculativePlanner
from reasonflow.programs.speculative_actions import ActionsAhead
from tests.programs.tool_agents import FINAL, LONG_S, Tools, guess, step


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


@pytest.mark.parametrize(("word", "hits"), [("six", 1), ("seven", 0)])
def test_guesses_are_calls_of_the_run_off_its_path(word: str, hits: int) -> None:
    tools = Tools()
    out, _ = ask(tools, guess("look_up", word=word), Large(tools.begun), run=True)
    spans, found = out.run.spans, out.guesses
    first, *late = (span for span in spans if span.inner == "aside")
    assert first.indices == (0, 0)
    assert [span.indices for span in late] in ([], [(1, 0)])  # the second may have left before it came to the engine
    assert sorted(span.indices for span in spans if not span.inner) == [(0,), (1,), (2,)]
    assert not {first, *late} & set(out.run.critical_path)
    assert out.run.usage.calls == 4 + len(late)
    wasted = sum(span.output_tokens for span in late) + (0 if hits else first.output_tokens)
    assert (found.hits, found.waste_tokens) == (hits, wasted)
    assert hits or wasted > 0
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
    tools, begun = Tools(), threading.Event()

    def for_ever(request: Any, index: int) -> float:
        begun.set()
        return 3600.0

    out, _ = ask(tools, guess("look_up", word="six"), Large(begun), run=run, small_engine={"latency": for_ever})
    assert (out.answer, tools.looked_up) == ("42", [("six", True)])
    assert (out.guesses.asked, out.guesses.started) == (2, 0)
    if run:
        assert out.run.usage.cancelled_calls in (1, 2)  # the second may have left before it came to the engine


@pytest.mark.parametrize(
    "budget",
    [rf.Budget(total=3_000), rf.Budget(total=20_000, sequential=3_000), rf.Budget(calls=3), rf.Budget(calls=9)],
)
def test_a_budget_is_left_to_the_agent(budget: rf.Budget) -> None:
    tools = Tools()
    agent = tools.agent()
    agent.set_lm(rf.scripted(Large(), model="large", max_tokens=200))
    small = rf.scripted("never said", model="small", latency=3600.0)
    program = Uses(ActionsAhead(agent, ["look_up"], small=small, guesses=2))
    program.budget = budget
    with dspy.context(lm=small):
        out = program(problem="p")
    assert (out.answer, out.run.complete, out.guesses.asked) == ("42", True, 4)
    asides = [span for span in out.run.spans if span.inner == "aside"]
    if budget.total == 3_000 or budget.calls == 3:
        assert not asides


def test_one_model_may_be_both() -> None:
    tools = Tools()

    def says(prompt: str, seed: int | None, index: int) -> str:
        return FINAL.format(42) if "[[ ## next_tool_name" not in prompt else guess("look_up", word="six")(prompt, 0, 0)

    with dspy.context(lm=rf.scripted(says)):
        out = ActionsAhead(tools.agent(), ["look_up"])(problem="p")
    assert (out.answer, out.guesses.asked) == ("42", 2)
    assert len(tools.looked_up) == 1 + out.guesses.discarded


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


def test_settings_can_be_copied_while_it_runs() -> None:
    copied: list[Any] = []

    def look_up(word: str) -> str:
        """Looks up a word."""
        copied.append(copy.deepcopy(dict(dspy.settings.config))["caller_modules"])
        return word

    large = rf.scripted(Large(calls=step("look_up", word="six")), model="large")
    ahead = ActionsAhead(dspy.ReAct("problem -> answer", [look_up]), ["look_up"], small=rf.scripted(""))
    with dspy.context(lm=large):
        assert ahead(problem="p").answer == "42"
    assert len(copied[0]) == 2


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
    ahead = ActionsAhead(tools.agent(), ["look_up"], guesses=3)
    assert planner(tools, tools=(), actions=(), agent=ahead, calls=5).calls == 5 + 3 * 4


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
