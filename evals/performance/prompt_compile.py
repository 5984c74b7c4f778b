"""Prompt tokens that an engine computes while prompts are tuned: a compile of ours against plain DSPy.

One of DSPy's optimizers tunes PDR three times on one engine, each time from an empty prefix cache: as a plain DSPy
module in DSPy's layout (with DSPy's own cache of equal calls); as `rf.PDR`, the optimizer called by hand; and by
`tune_prompts`. Every call writes a forced number of tokens, the scores depend on the example alone and the instructions
come from a script, so that all three try the same candidates on the same examples. What differs is what the engine
computes.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import dspy

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.dataset import Problem
from reasonflow.evals.performance.conditions import counters, filler, forget, runtime_of, start, write_exactly
from reasonflow.evals.performance.plain_pdr import AnyText, PlainPDR, writing_exactly
from reasonflow.evals.performance.report import ENGINE_PACKAGES, UNKNOWN, Provenance, Report, Table, provenance
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.optimizers.prompting.optimizers import By, Task, optimize
from reasonflow.optimizers.prompting.tuning import tune_prompts
from reasonflow.optimizers.surroundings import quiet

PLAIN, DIRECT, TUNED = "plain_dspy", "dspy_on_ours", "tune_prompts"
ARMS = (PLAIN, DIRECT, TUNED)
_MEASURING = ("gepa", "miprov2")
_WINDOW = 1 << 17
"""Tokens of the scripted reflection model: it reads whole examples."""
_WORDS = 60
"""Of a scripted instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One compile."""

    computed: int
    """Prompt tokens that the engine computed."""
    cached: int
    written: int
    """Output tokens."""
    runs: int
    """Times the metric was asked for a score."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCompile:
    """All arms."""

    arms: Mapping[str, Arm]
    by: str
    widths: tuple[int, ...]
    examples: int
    tokens: int
    context_tokens: int
    seed: int
    provenance: Provenance = UNKNOWN

    def figures(self) -> dict[str, float]:
        """`prefill_ratio`: computed by plain DSPy over computed by `tune_prompts`; `direct_ratio`: over the other."""
        plain = self.arms[PLAIN]
        found: dict[str, float] = {
            "prefill_ratio": round(plain.computed / max(1, self.arms[TUNED].computed), 3),
            "direct_ratio": round(plain.computed / max(1, self.arms[DIRECT].computed), 3),
            "time_ratio": round(plain.seconds / self.arms[TUNED].seconds, 3),
        }
        for name, arm in self.arms.items():
            found |= {f"{name}_computed": arm.computed, f"{name}_cached": arm.cached, f"{name}_written": arm.written}
            found[f"{name}_s"] = round(arm.seconds, 2)
        return found

    def report(self) -> Report:
        rows = tuple(
            (name, str(arm.computed), str(arm.cached), str(arm.written), str(arm.runs), f"{arm.seconds:.1f}")
            for name, arm in self.arms.items()
        )
        columns = ("compile", "tokens computed", "tokens cached", "tokens written", "scores", "s")
        title = f"PDR {self.widths} tuned by {self.by} on {self.examples} examples with a context of "
        title += f"{self.context_tokens} tokens, {self.tokens} tokens a call"
        return Report(
            benchmark="prompts",
            unit="prompt tokens computed by the engine in one compile; ratios: plain DSPy's over ours",
            figures=self.figures(),
            tables=(Table(title=title, columns=columns, rows=rows),),
            repeats=1,
            details={
                "by": self.by,
                "widths": list(self.widths),
                "examples": self.examples,
                "context_tokens": self.context_tokens,
                "seed": self.seed,
            },
            notes=("scores and instructions are scripted, so that all compiles try the same candidates",),
            provenance=self.provenance,
        )


def measure_prompts(
    problems: Sequence[Problem],
    lm: dspy.LM,
    *,
    by: By = "gepa",
    widths: tuple[int, ...] = (4, 2),
    tokens: int = 48,
    context_tokens: int = 1_536,
    trials: int = 6,
    seed: int = 0,
    threads: int = 8,
    say: Callable[[str], None] = lambda text: None,
) -> PromptCompile:
    """Tune PDR in all three ways. problems: half to learn from, half to measure on.

    by: "gepa" or "miprov2", instructions alone. tokens: that every call writes. context_tokens: of a text that stands
        beside each problem, as in question answering over documents; 0: the problems as they are. trials: candidates
        that are measured. threads: DSPy's own, of all arms alike.
    Raises InputError for fewer than four problems, for another optimizer, and for an engine whose cache cannot be
    emptied.
    """
    if by not in _MEASURING:
        raise UnknownName.among("optimizer that measures what it tries", str(by), _MEASURING)
    if len(problems) < 4:
        raise InputError(f"{len(problems)} problems are too few to tune on", fix="give at least four")
    start(lm)
    given = [_example(problem, lm, context_tokens, number) for number, problem in enumerate(problems)]
    found: dict[str, Arm] = {}
    for arm in ARMS:
        say(f"{arm} ...")
        forget(lm)
        compiling = _Compiling(given, lm, by, widths, tokens, trials, seed, threads)
        before, began_s = counters(lm), time.perf_counter()
        compiling.run(arm)
        took_s, after = time.perf_counter() - began_s, counters(lm)
        read, cached = after.prompt_tokens - before.prompt_tokens, after.cached_tokens - before.cached_tokens
        found[arm] = Arm(
            computed=read - cached,
            cached=cached,
            written=after.output_tokens - before.output_tokens,
            runs=compiling.runs,
            seconds=took_s,
        )
        say(f"{arm}: {read - cached:,} prompt tokens computed, {cached:,} reused, {took_s:.0f} s")
    return PromptCompile(
        arms=found,
        by=by,
        widths=widths,
        examples=len(problems),
        tokens=tokens,
        context_tokens=context_tokens,
        seed=seed,
        provenance=provenance(ENGINE_PACKAGES, lm),
    )


def _example(problem: Problem, lm: dspy.LM, context_tokens: int, number: int) -> dspy.Example:
    """A problem with a context of its own."""
    inputs = dict(problem.inputs)
    if context_tokens:
        tokenizer = runtime_of(lm).backend.tokenizer
        assert tokenizer is not None, "an engine whose cache can be emptied has a tokenizer"
        inputs = {"context": filler(tokenizer, context_tokens, number), **inputs}
    return dspy.Example(**inputs, **{problem.output: problem.answer}).with_inputs(*inputs)


class _Compiling:
    """One compile: the same for all arms but for what runs."""

    def __init__(
        self,
        examples: Sequence[dspy.Example],
        lm: dspy.LM,
        by: By,
        widths: tuple[int, ...],
        tokens: int,
        trials: int,
        seed: int,
        threads: int,
    ) -> None:
        half = len(examples) // 2
        self.trainset, self.valset = examples[:half], examples[half:]
        self._inputs = [example.inputs().toDict() for example in examples]
        inputs, labels = examples[0].inputs().toDict(), examples[0].labels().toDict()
        self.program = rf.PDR(f"{', '.join(inputs)} -> {', '.join(labels)}", widths)
        write_exactly(self.program, tokens)
        self._lm, self._by, self._tokens, self._seed, self._threads = lm, by, tokens, seed, threads
        self._options = _options(by, trials, len(self.valset))
        self._reflection = rf.scripted(_Reflector(), model="scripted-reflection", window=_WINDOW)
        self.runs = 0

    def run(self, arm: str) -> None:
        if arm == TUNED:
            tune_prompts(
                self.program, self.trainset, self.metric, valset=self.valset, by=self._by, lm=self._lm,
                reflection_lm=self._reflection, budget=rf.Budget(calls=10**9), seed=self._seed,
                concurrency=self._threads, options=self._options, show_progress=False,
            )  # fmt: skip
            return
        program: Any = PlainPDR(self.program) if arm == PLAIN else self.program
        lm = writing_exactly(self._lm, self._tokens) if arm == PLAIN else self._lm
        task = Task(
            program=program,
            judge=cast(Any, self.metric),
            trainset=self.trainset,
            valset=self.valset,
            lm=lm,
            reflection=self._reflection,
            seed=self._seed,
            threads=self._threads,
            runs=10**6,
            options=self._options,
            perfect=lambda: False,
        )
        adapter = AnyText() if arm == PLAIN else None
        with _own_cache(), quiet(logging.ERROR), dspy.context(lm=lm, adapter=adapter, disable_history=True):
            optimize(self._by, task)

    def metric(self, example: Any, prediction: Any, trace: Any = None, name: Any = None, inner: Any = None) -> Any:
        """Every other example is right, whatever was answered."""
        inputs = example.inputs().toDict()
        place = next(place for place, other in enumerate(self._inputs) if other == inputs)
        score = float(place % 2)
        if name is None:
            self.runs += 1
            return score
        return dspy.Prediction(score=score, feedback="Right." if score else "Wrong.")


class _Reflector:
    """Fills every field it is asked for with an instruction that it has not written before."""

    def __init__(self) -> None:
        self._written = 0

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        self._written += 1
        words = Random(self._written)
        said = " ".join(words.choice(LEXICONS["market"].names) for _ in range(_WORDS))
        request = prompt[prompt.rfind("Respond with") :]
        if "JSON" in request:
            return json.dumps(dict.fromkeys(re.findall(r"`(\w+)`", request), said))
        names = dict.fromkeys(re.findall(r"\[\[ ## (\w+) ## \]\]", request))
        return "\n\n".join(f"[[ ## {name} ## ]]\n{said}" for name in names)


def _options(by: By, trials: int, examples: int) -> Mapping[str, Any]:
    """As many candidates for every arm, whatever the budget."""
    if by == "gepa":
        return {"max_metric_calls": (trials + 1) * examples}
    return {"num_candidates": max(2, trials // 2), "num_trials": trials, "minibatch": False,
            "max_bootstrapped_demos": 0}  # fmt: skip


@contextmanager
def _own_cache() -> Iterator[None]:
    """DSPy's cache, empty, in memory only."""
    before = dspy.cache
    dspy.cache = type(before)(
        enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir="", memory_max_entries=10**6
    )
    try:
        yield
    finally:
        dspy.cache = before
