"""Labelled samples for the gates of asynchronous scaling: what a draft's chunks score, and whether they end right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

import dspy

import reasonflow as rf
from reasonflow.optimizers.gates import Sample
from reasonflow.optimizers.uncut import check_uncut
from reasonflow.programs.async_scaling import AsyncScaling, History
from reasonflow.programs.quick import quick


def scaling_samples(
    program: AsyncScaling,
    examples: Sequence[dspy.Example],
    metric: Callable[[dspy.Example, Any], Any],
    *,
    per_example: int = 1,
    seed: int = 0,
) -> list[list[Sample]]:
    """Of each gate of a program, samples for `calibrate(gate, samples, model=program.model)`.

    The draft model writes samples of every example alone, as if the gates accepted each chunk. A chunk is right if its
    sample ends in the right answer so: keeping it did no harm. One of a sample that finds no answer within the turns is
    wrong. Gates are not asked and need no threshold.

    Each gate has one chunk of every sample that reaches its turn; the last one, which is for all later turns, a random
    one of those, since chunks of one sample are not independent. Nor are samples of one example: with `per_example`
    above 1 a calibration promises less than it says. What holds for the first turn holds in use; at later turns
    chunks may follow text of the target's there, and only after chunks that were accepted.

    metric: as DSPy has it; what is true of its value is right. A chunk that could not be scored counts as never
    accepted. seed: of the random chunks. Raises BudgetExceeded where a surrounding budget does not last for all.
    """
    asked = _Drafts(program, len(examples), per_example)(rows=[dict(example.inputs()) for example in examples])
    check_uncut(asked)
    random, gates = Random(seed), len(program.gates)
    samples: list[list[Sample]] = [[] for _ in range(gates)]
    for example, drafts in zip(examples, asked.found, strict=True):
        for draft in drafts or ():
            if draft is None:
                continue
            right = draft.fields[program.answer] is not None and bool(metric(example, dspy.Prediction(**draft.fields)))
            for turn in range(min(gates, len(draft.scores))):
                last = turn == gates - 1
                samples[turn].append(Sample(random.choice(draft.scores[turn:]) if last else draft.scores[turn], right))
    return samples


class _Drafted(NamedTuple):
    """A sample of the draft model's."""

    history: History
    scores: tuple[float, ...]
    """Of its chunks; not a number where there is none."""


class _Draft(NamedTuple):
    """How such a sample ended."""

    fields: dict[str, Any]
    scores: tuple[float, ...]


class _Drafts(rf.Program):
    """The draft model alone, on many examples at once."""

    def __init__(self, program: AsyncScaling, most: int, per_example: int) -> None:
        self.program = program
        self.most = most
        self.n = per_example

    def plan(self, rows: Any) -> Any:
        program, turns = self.program, int(self.program.turns)

        def turn(drafted: Any) -> Any:
            return rf.call(self.scored, program.draft(after=drafted.history.context), drafted, cap=program.scores)

        def drafts(row: Any) -> Any:
            inputs = {name: rf.call(quick(partial(_field, name)), row) for name in program.draft.signature.input_fields}

            def sampled() -> Any:
                drafted = rf.call(self.scored, program.draft(**inputs), None, cap=program.scores)
                if turns > 1:
                    first = drafted
                    drafted = rf.when(
                        rf.call(quick(_goes_on), first),
                        lambda: rf.loop(turn, first, until=_over, max_rounds=turns - 1),
                        lambda: first,
                    )
                return rf.call(quick(self.read), drafted)

            return rf.fork(self.n, sampled)

        def asked() -> Any:
            return rf.each(rows, drafts, cap=self.most)

        return {"found": rf.when(rf.call(quick(program.fitting)), asked, lambda: rf.call(quick(_none)))}

    async def scored(self, chunk: Any, before: _Drafted | None) -> _Drafted:
        """With one more chunk, kept whatever it scores."""
        program = self.program
        history, after = program.with_chunk(chunk, None if before is None else before.history)
        score, why = program.gate_of(history.turns - 1).measure(await program.value(chunk, after))
        if score is None:
            rf.note(f"not scored: {why}")
        return _Drafted(history, (*(before.scores if before else ()), math.nan if score is None else score))

    def read(self, drafted: _Drafted) -> _Draft:
        """Its answer beside its scores."""
        return _Draft(self.program.read(drafted.history).fields, drafted.scores)


def _field(name: str, row: dict[str, Any]) -> Any:
    return row[name]


def _over(drafted: _Drafted) -> bool:
    return drafted.history.over


def _goes_on(drafted: _Drafted) -> bool:
    return not drafted.history.over


def _none() -> list[Any]:
    return []
