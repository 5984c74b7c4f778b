"""Chain of thought: one call that reasons before it answers."""

from __future__ import annotations

from typing import Any

import dspy

import reasonflow as rf
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import Layout, Temperature


class ChainOfThought(rf.Program):
    """One sample. The baseline every other program is measured against.

    signature: any DSPy signature; with one string output the answer is boxed behind free reasoning.
    temperature, layout: of the call, where `config` has none; or an `rf.Choice` or `rf.Range`: see `rf.Program`.
    config: sampling settings of the call.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        *,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        self.signature = read_signature(signature)
        self.solve = rf.Generate(self.signature, config=config)
        self.temperature, self.layout = temperature, layout

    def plan(self, **inputs: Any) -> Any:
        return rf.answer(self.solve(**inputs))
