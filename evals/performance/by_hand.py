"""The strongest simple alternative to a program: its prompts in its layout, sent straight to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import Prompt, Request
from reasonflow.compiler.passes import lower
from reasonflow.evals.performance.conditions import runtime_of
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Generate as GenerateNode
from reasonflow.runtime.call import template


class ByHand:
    """The calls of a program's sites, without plan, scheduler and record."""

    def __init__(self, program: rf.Program, lm: dspy.LM) -> None:
        """The program's layout is taken as the compiler has found it."""
        with dspy.context(lm=lm):
            plan = lower(trace(program).plan)
        self._runtime = runtime_of(lm)
        self.sites = {node.op.site.name: node.op.site for node in plan.walk() if isinstance(node.op, GenerateNode)}

    def prompt(self, site: str, inputs: Mapping[str, Any]) -> Prompt:
        return template(self.sites[site]).render(inputs, self._runtime.backend.tokenizer)

    async def ask(self, site: str, inputs: Mapping[str, Any], seed: int) -> str:
        """One sample's text. On the runtime's loop."""
        sampling = replace(self.sites[site].sampling, seed=seed)
        request = Request(prompt=self.prompt(site, inputs), sampling=sampling)
        (sample,) = await self._runtime.backend.generate(request)
        return sample.text.strip()
