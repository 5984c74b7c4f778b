"""`Continue`: text that goes on from where another left off."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, ProgramError
from reasonflow.evals.performance.conditions import runtime_of
from reasonflow.evals.performance.traffic import recorded
from reasonflow.prompts.context import Context


class Relay(rf.Program):
    """A trunk up to a mark, then two branches from there."""

    def __init__(self, room: int | None = None) -> None:
        self.trunk = rf.Continue("problem -> answer", stop="<go>", unmarked=("<go>",))
        self.branch = rf.Continue(stop="<end>")
        self.room = room

    def plan(self, problem: Any) -> Any:
        first = self.trunk(problem=problem)
        starts = rf.call(lambda context: [context.then(f"\n{number}:") for number in (1, 2)], first.context)
        room = {} if self.room is None else {"room": self.room}
        branches = rf.each(starts, lambda start: self.branch(after=start, **room), cap=2)
        return {"first": first, "branches": branches}


def script(prompt: str, seed: int | None, index: int) -> str:
    if prompt.endswith("\n1:"):
        return " left <end> unseen"
    return " right, to the end" if prompt.endswith("\n2:") else "a plan <go> unseen"


def run(program: rf.Program, lm: Any = None, problem: str = "How many?") -> Any:
    with dspy.context(lm=lm or rf.scripted(script)):
        return program(problem=problem)


def test_branches_go_on_from_the_trunk() -> None:
    lm = rf.scripted(script)
    with recorded(lm) as traffic:
        out = run(Relay(), lm)
    assert (out.first.text, out.first.stopped, out.first.cut) == ("a plan <go>", "<go>", False)
    left, right = out.branches
    assert (left.text, left.stopped) == (" left <end>", "<end>")
    assert (right.text, right.stopped, right.cut) == (" right, to the end", None, False)
    assert left.context.text == "a plan <go>\n1: left <end>"
    trunk, *branches = traffic.in_order
    for branch, start in zip(branches, ("\n1:", "\n2:"), strict=True):
        head = (*trunk.prompt, *trunk.output)
        assert branch.prompt == (*head, *out.first.context.tokenizer.encode(start))


def test_a_context_is_as_long_as_its_tokens_and_shows_its_text() -> None:
    context = run(Relay()).first.context
    assert isinstance(context, Context)
    assert len(context) == len(context.tokens)
    assert str(context) == "a plan <go>"
    assert context.chat()[-1] == {"role": "assistant", "content": "a plan <go>"}
    assert context.window is not None


def test_marks_in_the_inputs_are_broken_apart() -> None:
    seen: list[str] = []

    def listening(prompt: str, seed: int | None, index: int) -> str:
        seen.append(prompt)
        return script(prompt, seed, index)

    run(Relay(), rf.scripted(listening), "Say <go> twice")
    assert "Say <go>" not in seen[0]
    assert "go> twice" in seen[0]


def test_room_caps_what_a_call_writes() -> None:
    out = run(Relay(room=2))
    assert [branch.cut for branch in out.branches] == [True, True]
    assert all(0 < len(branch.context) - len(out.first.context) <= 2 + 2 for branch in out.branches)


def test_a_call_may_leave_the_stop_out() -> None:
    class Whole(rf.Program):
        def __init__(self) -> None:
            self.trunk = rf.Continue("problem -> answer", stop="<go>")

        def plan(self, problem: Any) -> Any:
            return {"first": self.trunk(problem=problem, config={"stop": ()})}

    assert run(Whole()).first.text == "a plan <go> unseen"


def test_dspy_traces_leave_it_out_and_usage_does_not() -> None:
    with dspy.context(lm=rf.scripted(script), trace=[], track_usage=True):
        out = Relay()(problem="How many?")
        assert dspy.settings.trace == []
    assert out.run.usage.calls == 3


def test_it_is_explained_and_bounded() -> None:
    with dspy.context(lm=rf.scripted(script)):
        explained = Relay().explain()
    assert explained.bound.calls == 3
    assert "prompt: all of ‹item›, token by token" in str(explained)


def test_an_engine_that_takes_chats_alone_is_refused() -> None:
    class Hosted(dspy.LM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            raise AssertionError("it was called")

    with pytest.raises(BackendError, match="cannot continue a context"):
        run(Relay(), Hosted("openai/some-model", api_key="none"))


def test_what_is_no_context_is_refused() -> None:
    class Wrong(rf.Program):
        def __init__(self) -> None:
            self.branch = rf.Continue(stop="<end>")

        def plan(self, problem: Any) -> Any:
            return {"x": self.branch(after=problem)}

    with pytest.raises(InputError, match="is no context"):
        run(Wrong())


def test_without_a_signature_it_begins_nothing() -> None:
    class Wrong(rf.Program):
        def __init__(self) -> None:
            self.branch = rf.Continue()

        def plan(self, problem: Any) -> Any:
            return {"x": self.branch(problem=problem)}

    with pytest.raises(ProgramError, match="no signature to begin with"):
        run(Wrong())


@pytest.mark.parametrize("signature", ["after -> answer", "problem, room -> answer"])
def test_names_of_its_own_are_refused(signature: str) -> None:
    with pytest.raises(InputError, match="a name of Continue's own"):
        rf.Continue(signature)


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(InputError, match="empty stop"):
        rf.Continue(stop="")


def test_a_saved_program_says_the_same(tmp_path: Any) -> None:
    relay = Relay()
    relay.save(tmp_path / "relay.json")
    again = Relay()
    again.load(tmp_path / "relay.json")
    assert run(again).branches[0].text == run(relay).branches[0].text


@pytest.mark.engine
def test_on_the_real_engine_branches_find_the_trunk_in_the_cache(embedded_lm: Any) -> None:
    program = Relay()
    program.trunk = rf.Continue("problem -> answer", config={"max_tokens": 150, "ignore_eos": True})
    program.branch = rf.Continue(config={"max_tokens": 8, "ignore_eos": True})
    with recorded(embedded_lm) as traffic:
        run(program, embedded_lm, "There are 3 round dolls. How many round dolls are there?")
    trunk, *branches = traffic.in_order
    block = runtime_of(embedded_lm).backend.block_size or 1
    for branch in branches:
        assert branch.prompt[: len(trunk.prompt) + len(trunk.output)] == (*trunk.prompt, *trunk.output)
        # All whole blocks but the one that holds the last token, whose keys nobody has computed.
        assert branch.cached >= (len(trunk.prompt) + len(trunk.output) - 1) // block * block
