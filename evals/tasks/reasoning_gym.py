"""Problems made on the spot by reasoning-gym: nothing is downloaded, and a seed makes them again.

Any dataset of reasoning-gym is a benchmark called `rg:NAME`, with its options behind commas:
`rg:chain_sum,min_terms=2,max_terms=2,seed=1`. The library is Apache-2.0 (https://github.com/open-thought/reasoning-gym).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.dataset import Problem

PREFIX = "rg:"
DEFAULT_SIZE = 24
"""Problems of a generated benchmark where no limit is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One way of making problems."""

    dataset: str
    """Its name in reasoning-gym."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the dataset's configuration."""
    seed: int = 0
    """Of the problems, where no other one is asked for."""


def parse_task(name: str) -> Task:
    """The task that `rg:NAME,option=value,...` spells. Raises InputError, UnknownName."""
    dataset, *words = name.removeprefix(PREFIX).split(",")
    options: dict[str, Any] = {}
    for word in words:
        option, equals, text = word.partition("=")
        if not equals:
            raise InputError(
                f"{word!r} in the benchmark {name!r} is not of the form option=value",
                fix="write for example rg:chain_sum,min_terms=2,max_terms=2",
            )
        options[option.strip()] = _literal(text.strip())
    seed = options.pop("seed", 0)
    if not isinstance(seed, int):
        raise InputError(f"seed={seed!r} in the benchmark {name!r} is no whole number", fix="write for example seed=1")
    return Task(dataset=dataset, options=options, seed=seed)


def generate(task: Task, *, size: int, seed: int) -> list[Problem]:
    """`size` problems, equal for equal arguments. Raises InputError, UnknownName for what reasoning-gym refuses."""
    source = f"reasoning-gym/{task.dataset}"
    origin: dict[str, Any] = {"dataset": task.dataset, "options": dict(task.options), "size": size, "seed": seed}
    problems = []
    for index, entry in enumerate(open_dataset(**origin)):
        problems.append(
            Problem(
                id=f"{task.dataset}-{seed}-{index}",
                inputs={"problem": str(entry["question"]).strip()},
                answer=str(entry["answer"]),
                kind="generated",
                source=source,
                grading={**origin, "index": index},
            )
        )
    return problems


def open_dataset(*, dataset: str, options: Mapping[str, Any], size: int, seed: int) -> Any:
    """reasoning-gym's own dataset object. Raises InputError, UnknownName."""
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise InputError(
            "generated benchmarks need the package reasoning-gym",
            why=str(error),
            fix='pip install "reasonflow[eval]", or give your own problems with --data',
        ) from error
    if dataset not in DATASETS:
        raise UnknownName.among("reasoning-gym dataset", dataset, DATASETS)
    fields = DATASETS[dataset][1].__dataclass_fields__
    known = {name: field for name, field in fields.items() if name not in ("seed", "size")}
    for option in options:
        if option not in known:
            raise UnknownName.among(f"option of {PREFIX}{dataset}", option, known)
    try:
        return reasoning_gym.create_dataset(dataset, size=size, seed=seed, **options)
    except (AssertionError, TypeError, ValueError) as error:  # its configurations are validated with assert
        raise InputError(
            f"reasoning-gym refuses the options of {PREFIX}{dataset}",
            why=str(error) or repr(error),
            fix=f"its options and their defaults: {_defaults(known)}",
        ) from error


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _defaults(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={field.default!r}" for name, field in fields.items() if name not in ("seed", "size"))[
        :600
    ]
