"""DSPy's optimizers, set up for a budget. Each is DSPy's own class, called as its documentation says."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import dspy

from reasonflow.language.program import Program
from reasonflow.optimizers.prompting.judging import Judge

By: TypeAlias = Literal["gepa", "miprov2", "bootstrap", "simba"]
BY: tuple[str, ...] = get_args(By)
REFLECTING = ("gepa", "miprov2", "simba")
"""Those that have a model write instructions."""
UNMEASURED = ("bootstrap", "simba")
"""Those that do not run what they give on the valset."""

_DEMOS = 4
_MINIBATCH = 3
"""Examples of one reflection of GEPA, its default."""
_MOST_CANDIDATES = 12
_MINIBATCHED = 50
"""Validation examples above which MIPROv2 tries candidates on some of them, its own rule."""
_ENDLESS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an optimizer is given."""

    program: Program
    judge: Judge
    trainset: Sequence[dspy.Example]
    valset: Sequence[dspy.Example]
    lm: dspy.LM
    reflection: dspy.LM
    """Writes instructions; its calls are counted."""
    seed: int
    threads: int
    """Runs in flight."""
    runs: int
    """Runs that the budget pays for, about."""
    options: Mapping[str, Any]
    """Of the optimizer's class, in place of ours."""
    perfect: Callable[[], bool]
    """Whether nothing can be better than what was found."""
    ahead: Callable[[Sequence[dspy.Example]], None] = lambda examples: None
    """Runs the program as it is on some examples side by side, so that asking for one of these runs again finds it."""


def optimize(by: By, task: Task) -> Program:
    """The program as the optimizer gives it. Raises what it raises, and `Stopped` where the budget ends it."""
    return _BY[by](task)


def _gepa(task: Task) -> Program:
    options = {
        "max_metric_calls": max(1, min(_ENDLESS, task.runs * 2)),  # the budget ends it before, where it is new calls
        "reflection_minibatch_size": min(_MINIBATCH, len(task.trainset)),
        "add_format_failure_as_feedback": True,
        "warn_on_score_mismatch": False,
        "gepa_kwargs": {"stop_callbacks": lambda state: task.perfect()},
        **task.options,
    }
    if {"auto", "max_full_evals"} & set(task.options):
        del options["max_metric_calls"]
    optimizer = dspy.GEPA(
        metric=task.judge, reflection_lm=task.reflection, num_threads=task.threads, seed=task.seed, **options
    )
    found: Program = optimizer.compile(task.program, trainset=list(task.trainset), valset=list(task.valset))
    return found


def _miprov2(task: Task) -> Program:
    in_compile = ("num_trials", "minibatch", "minibatch_size", "minibatch_full_eval_steps")
    sites, many = len(task.program.predictors()), len(task.valset)
    evaluations = task.runs / many
    candidates = max(2, min(_MOST_CANDIDATES, int(evaluations / 2)))
    trials = max(1, min(int(evaluations), max(2 * 2 * sites * candidates.bit_length(), 3 * candidates // 2)))
    ours = {
        "auto": None,
        "num_candidates": candidates,
        "max_bootstrapped_demos": min(_DEMOS, len(task.trainset)),
        "max_labeled_demos": 0,  # an example of the data shows no reasoning, and nothing of what inner sites read
        "num_trials": trials,
        "minibatch": many > _MINIBATCHED,
        **task.options,
    }
    if ours["auto"] is not None:
        ours = {name: value for name, value in ours.items() if name not in ("num_candidates", "num_trials")}
    _ahead(task, ours, list(task.trainset))
    optimizer = dspy.MIPROv2(
        metric=task.judge,
        prompt_model=task.reflection,
        task_model=task.lm,
        num_threads=task.threads,
        seed=task.seed or 9,  # MIPROv2 reads 0 as its default
        **{name: value for name, value in ours.items() if name not in in_compile},
    )
    found: Program = optimizer.compile(
        task.program,
        trainset=list(task.trainset),
        valset=list(task.valset),
        **{name: value for name, value in ours.items() if name in in_compile},
    )
    return found


def _bootstrap(task: Task) -> Program:
    options = {
        "max_bootstrapped_demos": min(_DEMOS, len(task.trainset)),
        "max_labeled_demos": 0,
        **task.options,
    }
    examples = list(task.trainset)
    random.Random(task.seed).shuffle(examples)  # it takes the first that it solves
    _ahead(task, options, examples)
    found: Program = dspy.BootstrapFewShot(metric=task.judge, **options).compile(task.program, trainset=examples)
    return found


def _simba(task: Task) -> Program:
    batch = min(16, len(task.trainset))
    candidates = max(2, min(6, task.runs // (8 * batch)))
    each = 2 * candidates * batch
    options = {
        "bsize": batch,
        "num_candidates": candidates,
        "max_steps": max(1, min(8, (task.runs - (candidates + 1) * len(task.trainset)) // max(1, each))),
        "max_demos": _DEMOS,
        **task.options,
    }
    optimizer = dspy.SIMBA(metric=task.judge, prompt_model=task.reflection, num_threads=task.threads, **options)
    found: Program = optimizer.compile(task.program, trainset=list(task.trainset), seed=task.seed)
    return found


def _ahead(task: Task, options: Mapping[str, Any], examples: list[dspy.Example]) -> None:
    """What BootstrapFewShot will run one after the other in any case: as many as it needs demos, the first ones."""
    if options["max_labeled_demos"] == 0 and "teacher_settings" not in options:
        task.ahead(examples[: options["max_bootstrapped_demos"]])


_BY: Mapping[str, Callable[[Task], Program]] = {
    "gepa": _gepa,
    "miprov2": _miprov2,
    "bootstrap": _bootstrap,
    "simba": _simba,
}
