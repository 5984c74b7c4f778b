"""Recursive Self-Aggregation (arXiv:2509.26626): a population of solutions, each made out of several before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import dspy

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.language.choices import as_choice, opened, resolve
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature
from reasonflow.programs.picks import drawn
from reasonflow.programs.refinement import extended, unused

_SIZES, _READ, _ROUNDS = (4, 8, 16), (1, 2, 4), (1, 2, 3, 5)
"""What `rf.compile` may choose among."""

_AGGREGATE = (
    "The candidates are earlier attempts and may be wrong in whole or in part. Take over the steps that hold, settle "
    "where they disagree, and write one complete, improved solution; where none of them holds, try another way."
)


class RSA(rf.Program):
    """`n` independent candidates; then, `rounds` times, `n` new ones, each out of `k` drawn from those before it.

    All candidates of a round are made in parallel and no judge throws any away: n × (1 + rounds) calls. As published:
    the population is replaced whole each round, and each new candidate reads `k` different old ones, all sets equally
    likely. Decided here: `rounds` counts the aggregations alone; a set is read in the population's own order; the
    answer is the majority of the last population rather than a random one of it; and with k=1 candidate i reads
    candidate i, which makes `n` sequential refinements side by side. The prompt is our own. Cut short by a budget it
    gives the majority of the last whole population.

    n: candidates. k: of them, how many a new one reads. rounds: of aggregation. Each may be an `rf.Choice` or
        `rf.Range`, for `rf.compile`; settings with k above n are refused.
    solution_tokens: how much of a candidate is read, thinking never.
    seed: of the draws. Equal seeds draw equal places; what stands in them is up to the run's own seed.
    temperature, layout: of all calls that have none in their `config`; or an `rf.Choice` or `rf.Range`: see
        `rf.Program`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType(
        {"n": _SIZES, "k": _READ, "rounds": _ROUNDS, "temperature": TEMPERATURES}
    )

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        n: int | rf.Choice = 8,
        k: int | rf.Choice = 4,
        rounds: int | rf.Choice = 3,
        *,
        solution_tokens: int = 2048,
        seed: int = 0,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        size, read = resolve(n), resolve(k)
        for name, number, most in (("n", size, None), ("k", read, size), ("rounds", resolve(rounds), None)):
            if number < 1 or (most is not None and number > most):
                fix = f"give a whole number from 1{f' to n={most}' if most is not None else ''}"
                raise InputError(f"{name}={number} makes no aggregation", fix=fix)
        task = read_signature(signature)
        self.candidates = unused("candidates", task)
        self.signature = task
        self.by = list(task.output_fields)[-1]
        self.draft = rf.Generate(task, config=config, solution_tokens=solution_tokens)
        reads = extended(task, _AGGREGATE, {self.candidates: (list[str], "")})
        self.aggregate = rf.Generate(reads, config=config, solution_tokens=solution_tokens)
        self.n = opened(n, [option for option in _SIZES if option >= read])
        self.k = as_choice(k)
        self.rounds = opened(rounds, _ROUNDS)
        self.seed = seed
        self.temperature, self.layout = temperature, layout

    def plan(self, **inputs: Any) -> Any:
        if self.k > self.n:
            raise InputError(
                f"k={int(self.k)} of n={int(self.n)} candidates", fix="let a new one read at most all of them"
            )
        population = self.draft(**inputs, n=self.n, min_branches=1)
        for number in range(1, self.rounds + 1):
            rf.answer(rf.vote(population, by=self.by))
            population = self._aggregated(inputs, population, number)
        return rf.answer(rf.vote(population, by=self.by))

    def _aggregated(self, inputs: dict[str, Any], population: Any, number: int) -> Any:
        """The next population."""
        k = int(self.k)

        def candidate(branch: Any) -> Any:
            picked = rf.call(own if k == 1 else drawn, population, k, self.seed, number, branch)
            return self.aggregate(**inputs, **{self.candidates: rf.select(population, indices=picked, k=k)})

        return rf.fork(self.n, candidate, min_branches=1)  # of none there is nothing to draw


def own(population: list[Any], k: int, seed: int, number: int, branch: int) -> list[int]:
    """The candidate at the branch's own place; where it did not come about, one that did."""
    return [branch] if population[branch] else drawn(population, k, seed, number, branch)
