"""Best-of-N: independent samples, and the one that a verifier scores highest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import dspy

import reasonflow as rf
from reasonflow.errors import RunError
from reasonflow.language.choices import opened
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature
from reasonflow.programs.verifiers import Verifier, YesProbability, as_verifier

_SAMPLES = (2, 4, 8, 16, 32)


class BestOfN(rf.Program):
    """`n` samples of one prompt; the one with the highest score wins, the earlier one among equals.

    A sample without an answer is never chosen while one with an answer has a score. The scores stand in the run record,
    in `run.notes`. Cut short by a budget it gives the best of the samples that were scored by then, and the
    majority answer where none was.

    n: samples; or an `rf.Choice` or `rf.Range` of them, for `rf.compile`.
    verifier: what scores them: a `Verifier`, or a function of the inputs (a dict) and a candidate (a record) that says
        True or False or gives a number. None: the model itself, by its probability of Yes (`rf.YesProbability`).
    solution_tokens: how much of a sample the verifier reads, thinking never.
    temperature, layout: of the samples, where `config` has none; or an `rf.Choice` or `rf.Range`: see `rf.Program`.
    config: sampling settings of the samples.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({"n": _SAMPLES, "temperature": TEMPERATURES})

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        n: int | rf.Choice = 8,
        verifier: Verifier | Callable[..., Any] | None = None,
        *,
        solution_tokens: int = 2048,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        self.signature = read_signature(signature)
        self.by = list(self.signature.output_fields)[-1]
        self.solve = rf.Generate(self.signature, config=config, solution_tokens=solution_tokens)
        self.verifier = YesProbability(self.signature) if verifier is None else as_verifier(verifier)
        self.n = opened(n, _SAMPLES)
        self.temperature, self.layout = temperature, layout

    def plan(self, **inputs: Any) -> Any:
        drafts = self.solve(**inputs, n=self.n)
        rf.answer(rf.vote(drafts, by=self.by))
        scores = rf.call(eligible, self.verifier.scores(inputs, drafts), drafts[self.by])
        return rf.answer(rf.select(drafts, scores=scores))


def eligible(scores: Sequence[Any], answers: Sequence[Any]) -> list[float | None]:
    """The scores that may choose: None for a candidate without one, and for one without an answer beside others.

    Raises RunError where nothing was scored, and where the scores are not one per candidate.
    """
    if len(scores) != len(answers):
        raise RunError(
            f"the verifier gave {len(scores)} scores for {len(answers)} candidates",
            fix="let scores(inputs, candidates) keep the places of all candidates, None for those it cannot score",
        )
    known = [float(score) if isinstance(score, (int, float)) and score == score else None for score in scores]
    rf.note("scores: " + ", ".join("none" if score is None else f"{score:.4g}" for score in known), repair=False)
    if all(score is None for score in known):
        # Caused by what left them without one: a run that its budget cut there ends with the answer it has.
        cause = next((score.error for score in scores if isinstance(getattr(score, "error", None), Exception)), None)
        raise RunError(
            f"none of the {len(scores)} candidates has a score",
            why="the verifier failed on every one of them" if cause is None else f"the first failure: {cause}",
            fix="error.run.failures lists what went wrong",
        ) from cause
    pairs = zip(known, answers, strict=True)
    answered = [None if answer is None or answer == "" else score for score, answer in pairs]
    return known if all(score is None for score in answered) else answered
