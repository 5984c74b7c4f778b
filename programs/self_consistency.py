"""Self-consistency: independent samples, then a vote over their answers (Wang et al. 2022, arXiv:2203.11171)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import dspy

import reasonflow as rf
from reasonflow.language.choices import opened
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature

_SAMPLES = (1, 2, 4, 8, 16, 32)


class SelfConsistency(rf.Program):
    """`n` samples of one prompt; the most frequent answer wins, with the first sample that gave it.

    n: samples; or an `rf.Choice` or `rf.Range` of them, for `rf.compile`.
    by: the output field that is voted on; None: the signature's last one.
    temperature, layout: of the samples, where `config` has none; or an `rf.Choice` or `rf.Range`: see `rf.Program`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({"n": _SAMPLES, "temperature": TEMPERATURES})

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        n: int | rf.Choice = 8,
        by: str | None = None,
        *,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        self.signature = read_signature(signature)
        self.solve = rf.Generate(self.signature, config=config)
        self.n = opened(n, _SAMPLES)
        self.temperature, self.layout = temperature, layout
        self.by = by or list(self.signature.output_fields)[-1]

    def plan(self, **inputs: Any) -> Any:
        drafts = self.solve(**inputs, n=self.n)
        return rf.answer(rf.vote(drafts, by=self.by))
