"""The prompts of SpeculativePlanner's own call sites, through the renderer that runs use."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import reasonflow as rf
from reasonflow.backends.protocol import Message
from reasonflow.evals.tasks.problems import Item
from reasonflow.gates.scores import TokenProbability
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Generate
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.prompts.render import PromptTemplate
from reasonflow.runtime.call import template

Asked: TypeAlias = Literal["judge", "small"]
"""Whether it needs a tool; the answer at once."""


def planner_prompt(site: Asked, item: Item) -> tuple[Message, ...]:
    """What that call site is shown of a problem."""
    return _templates()[site].messages({"problem": item.text})


@cache
def _templates() -> dict[str, PromptTemplate]:
    """By name of the call site."""
    planner = SpeculativePlanner(gate=rf.Gate(TokenProbability(), threshold=0.5), agent=rf.ChainOfThought())
    sites = [node.op.site for node in trace(planner).plan.walk() if isinstance(node.op, Generate)]
    found = {site.name: template(site) for site in sites if site.name in ("judge", "small")}
    return {name: made for name, made in found.items() if isinstance(made, PromptTemplate)}
