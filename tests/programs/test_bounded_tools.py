"""Tools that raise, hang, or give megabytes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.gates.scores import TokenProbability
from reasonflow.programs.bounded_tools import ToolTimeout, bounded
from reasonflow.programs.speculative import AGENT, SpeculativePlanner


def product(first: int, second: int = 2) -> int:
    """Multiplies."""
    return first * second


async def later(first: int) -> int:
    """Takes its time."""
    await asyncio.sleep(0.01)
    return first + 1


def hangs(first: int) -> str:
    """Never comes back."""
    time.sleep(5)
    return "too late"


def floods(first: int) -> str:
    """Says too much."""
    return "a" * 3_000_000 + "end"


def raises(first: int) -> str:
    """Fails."""
    raise OSError(f"no disk {first}")


def test_a_tool_stays_what_it_is() -> None:
    for given in (product, dspy.Tool(product)):
        tool = bounded(given)
        assert (tool.name, tool.desc, tool.args) == ("product", "Multiplies.", dspy.Tool(product).args)
        assert (tool(first=4, second=3), tool(first=4)) == ("12", "8")
        with pytest.raises(ValueError, match="first"):
            tool(first="four")
    assert bounded(later)(first=1) == "2"
    with pytest.raises(OSError, match="no disk 3"):
        bounded(raises)(first=3)


def test_a_deadline_and_a_length_are_kept() -> None:
    begun = time.monotonic()
    with pytest.raises(ToolTimeout, match=r"hangs gave nothing within 0\.05 seconds"):
        bounded(hangs, deadline_s=0.05)(first=1)
    assert time.monotonic() - begun < 2
    text = bounded(floods, longest=100)(first=1)
    assert len(text) < 160
    assert text.endswith("end")
    assert "2999903 characters left out" in text


@pytest.mark.parametrize(
    ("tool", "seen", "noted"),
    [
        (hangs, "gave nothing within 0.05 seconds", "nothing within 0.05 s"),
        (floods, "characters left out", "characters cut to"),
        (raises, "no disk 3", ""),
        (later, "4", ""),
    ],
)
def test_an_agent_reads_what_became_of_it_and_goes_on(tool: Any, seen: str, noted: str) -> None:
    prompts: list[str] = []

    def model(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        if "without any tool" in prompt:
            return "No"
        if "[[ ## next_tool_name ## ]]" not in prompt:
            return "[[ ## reasoning ## ]]\nSo.\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"
        done = "observation_0" in prompt
        name, args = ("finish", "{}") if done else (tool.__name__, '{"first": 3}')
        return (
            f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
            f"[[ ## next_tool_args ## ]]\n{args}\n\n[[ ## completed ## ]]"
        )

    gate = rf.Gate(TokenProbability(), 0.9)
    program = SpeculativePlanner("problem -> answer", gate, tools=[tool], deadline_s=0.05)
    with dspy.context(lm=rf.scripted(model, top_logprobs=20, window=100_000)):
        out = program(problem="What is 6 times 7?")
    assert (out.answer, out.source) == ("42", AGENT)
    assert any(seen in prompt for prompt in prompts)
    assert not noted or any(noted in note for note in out.run.repairs)
