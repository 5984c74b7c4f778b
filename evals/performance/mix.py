"""Short and long programs beside each other, for the benchmark of latencies: in every arm's manner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import dspy

import reasonflow as rf
from reasonflow.evals.performance.by_hand import ByHand
from reasonflow.evals.performance.conditions import LAYOUT, runtime_of, write_exactly
from reasonflow.evals.performance.plain_dspy import plain_lm

Kind: TypeAlias = Literal["single", "vote", "pdr", "wide"]
KINDS: Mapping[Kind, float] = {"single": 0.75, "vote": 0.15, "pdr": 0.06, "wide": 0.04}
"""Share of the programs that arrive."""
TOKENS: Mapping[Kind, int] = {"single": 32, "vote": 48, "pdr": 64, "wide": 48}
"""That every call of a program writes. With a third of it the built-in model finished 33 programs a second, and equal
numbers of the engine's steps took from 6 to 25 s on two shared cores."""

_SIGNATURE = "problem -> answer"


class Mix:
    """The programs on one of our engines, as wide as its slots ask for."""

    def __init__(self, lm: dspy.LM) -> None:
        self.lm = lm
        slots = runtime_of(lm).backend.max_running
        self.widths: Mapping[Kind, int] = {"single": 1, "vote": max(2, slots // 4), "pdr": slots, "wide": 4 * slots}
        """Calls beside each other."""
        pdr = rf.PDR(_SIGNATURE, widths=(self.widths["pdr"],), workspace_tokens=TOKENS["pdr"])
        self._pdr = pdr
        self._programs: Mapping[Kind, rf.Program] = {
            "single": rf.ChainOfThought(_SIGNATURE),
            "vote": rf.SelfConsistency(_SIGNATURE, n=self.widths["vote"]),
            "pdr": pdr,
            "wide": rf.SelfConsistency(_SIGNATURE, n=self.widths["wide"]),
        }
        for kind, program in self._programs.items():
            write_exactly(program, TOKENS[kind])
            program.layout = LAYOUT
        self._by_hand = {kind: ByHand(program, lm) for kind, program in self._programs.items()}
        self._plain = {kind: _plain(program, plain_lm(lm, TOKENS[kind])) for kind, program in self._programs.items()}

    def work(self, kind: Kind) -> int:
        """Tokens that a program of that kind writes."""
        return TOKENS[kind] * (self.widths[kind] + 2 * (kind == "pdr"))

    async def program(self, kind: Kind, number: int) -> None:
        """Run one; equal numbers are equal programs."""
        with dspy.context(lm=self.lm.copy(seed=number % 2**31)):
            await self._programs[kind].acall(problem=_problem(number))

    async def by_hand(self, kind: Kind, number: int) -> None:
        """The same calls, on the runtime's loop."""
        ask, inputs, seed = self._by_hand[kind].ask, {"problem": _problem(number)}, number % 2**31
        if kind != "pdr":
            await asyncio.gather(*(ask("solve", inputs, seed + place) for place in range(self.widths[kind])))
            return
        drafts = await asyncio.gather(*(ask("draft", inputs, seed + place) for place in range(self.widths[kind])))
        notes = await ask("distill", {**inputs, self._pdr.drafts: list(drafts)}, seed)
        await ask("refine", {**inputs, self._pdr.workspace: notes}, seed)

    async def plain(self, kind: Kind, number: int) -> None:
        """The same calls as plain DSPy modules, inside `plain_dspy`."""
        modules, inputs = self._plain[kind], {"problem": _problem(number)}
        first = modules["draft" if kind == "pdr" else "solve"]
        answers = await asyncio.gather(*(first.acall(**inputs) for _ in range(self.widths[kind])))
        if kind != "pdr":
            return
        drafts = [answer.answer for answer in answers]
        notes = await modules["distill"].acall(**inputs, **{self._pdr.drafts: drafts})
        await modules["refine"].acall(**inputs, **{self._pdr.workspace: getattr(notes, self._pdr.workspace)})


def _plain(program: rf.Program, lm: dspy.LM) -> dict[str, dspy.Predict]:
    modules = {
        name: dspy.Predict(site.signature) for name, site in vars(program).items() if isinstance(site, rf.Generate)
    }
    for module in modules.values():
        module.lm = lm
    return modules


def _problem(number: int) -> Any:
    return f"A shop sells {abs(number) + 3} pears and {abs(number) % 7 + 2} plums a day. How many is that in a week?"
