"""Lessons in tools, as rows of token ids: an agent's steps, and judgements of what needs none.

Prompts are those that runs send: `dspy.ReAct`'s through DSPy's own adapter, and SpeculativePlanner's through the
renderer. Several problems share a row, and with it the long instruction of the agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import takewhile
from random import Random
from typing import Any

import dspy

from reasonflow.backends.protocol import Message
from reasonflow.evals.curriculum.embedded import Problems, Reasoner
from reasonflow.evals.curriculum.planner_prompts import planner_prompt
from reasonflow.evals.curriculum.search_lessons import Row, row_of
from reasonflow.evals.curriculum.tooling import Episode, Step, episode, needs_tools
from reasonflow.evals.tasks.problems import Item
from reasonflow.evals.tasks.tools import TOOLS

TOOLED = {"tools": 0.6, "tools,width=1..2,depth=1..3": 0.2, "tools,distractors=2..5": 0.2}
"""Share of each mix."""
_TOGETHER = 4
"""Problems of a row of agents: their instruction is as long as five steps."""
_JUDGED = 16
"""Of a row of judgements, which are a token each."""
AGENT, JUDGE = "agent", "judge"
TAUGHT: Mapping[str, Mapping[str, float]] = {
    "embedded": {AGENT: 0.9, JUDGE: 0.1},
    "embedded-draft": {AGENT: 1.0},
}
"""Shares of rows by model: the large one acts and judges, the small one guesses how the large one acts."""


def tool_rows(seed: int, reasoner: Reasoner) -> Iterator[Row]:
    """Without end."""
    random = Random(f"tools/{seed}")
    draw, shares = Problems(TOOLED, random, seed), TAUGHT[reasoner.model]
    while True:
        kind = random.choices([*shares], [*shares.values()])[0]
        items = [draw() for _ in range(_TOGETHER if kind == AGENT else _JUDGED)]
        if kind == AGENT:
            turns = [turn for item in items for turn in lessons_of(item, episode(item, random))]
        else:
            turns = [(planner_prompt("judge", item), "No" if needs_tools(item) else "Yes") for item in items]
        yield _row(reasoner, turns)


def _row(reasoner: Reasoner, turns: Sequence[tuple[Sequence[Message], str]]) -> Row:
    units = tuple(reasoner.unit(messages, text) for messages, text in turns)
    columns = zip(*(unit.context for unit in units), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return {**row_of(units), "prompt": list(units[0].context[:shared])}


def lessons_of(item: Item, whole: Episode) -> Iterator[tuple[Sequence[Message], str]]:
    """Each step of the agent, and the answer: what it is shown and what it writes."""
    agent = _agent()
    for place, step in enumerate(whole.steps):
        shown = {"problem": item.text, "trajectory": _trajectory(whole.steps[:place])}
        written = {"next_thought": step.thought, "next_tool_name": step.tool, "next_tool_args": step.args}
        yield _through(agent.react.signature, shown, written)
    shown = {"problem": item.text, "trajectory": _trajectory(whole.steps)}
    yield _through(agent.extract.predict.signature, shown, {"reasoning": whole.reasoning, "answer": whole.answer})


def _through(signature: Any, shown: dict[str, Any], written: dict[str, Any]) -> tuple[Sequence[Message], str]:
    adapter = dspy.ChatAdapter()
    return adapter.format(signature, [], shown), adapter.format_assistant_message_content(signature, written)


@cache
def _agent() -> Any:
    return dspy.ReAct("problem -> answer", list(TOOLS))


def _trajectory(steps: Sequence[Step]) -> str:
    """As `dspy.ReAct` shows the steps so far."""
    fields = _trajectory_signature(len(steps))
    values = (value for step in steps for value in step)
    text: str = dspy.ChatAdapter().format_user_message_content(
        fields, dict(zip(fields.input_fields, values, strict=True))
    )
    return text


@cache  # DSPy makes it anew for each step, which takes most of a lesson's time
def _trajectory_signature(steps: int) -> Any:
    names = ("thought", "tool_name", "tool_args", "observation")
    return dspy.Signature(f"{', '.join(f'{name}_{step}' for step in range(steps) for name in names)} -> x")
