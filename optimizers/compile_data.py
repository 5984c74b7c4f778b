"""Examples and a metric that a compile can rest on, looked at before anything is spent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.language.program import Program
from reasonflow.optimizers.trial_runs import Metric, labels_of, metric_raised, score_of

_PROBED = 2
"""Examples whose own labels the metric is shown."""
OTHER_FORM = (AttributeError, KeyError, TypeError, IndexError)
"""What a metric may raise that reads more of a prediction than labels hold, such as its run."""


def inputs_of(example: dspy.Example, where: str) -> dict[str, Any]:
    """Raises InputError, beginning with `where`, for an example that names none."""
    try:
        inputs: dict[str, Any] = example.inputs().toDict()
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"{where} does not say what its inputs are",
            why=str(error),
            fix='name them: dspy.Example(problem="2 + 3", answer="5").with_inputs("problem")',
        ) from error
    return inputs


def key_of(inputs: Mapping[str, Any]) -> str:
    """Equal inputs have equal keys."""
    return json.dumps(dict(inputs), sort_keys=True, default=str)


def check_examples(program: Program, examples: Sequence[dspy.Example], name: str) -> None:
    """Raise InputError for no examples, for one without the program's inputs, and for two that are equal."""
    if not examples:
        raise InputError(f"{name} is empty", why="nothing can be measured without examples", fix="pass at least one")
    wanted = program.input_names()
    seen: dict[str, int] = {}
    for place, example in enumerate(examples):
        inputs = inputs_of(example, f"example {place} of {name}")
        missing = [field for field in wanted if field not in inputs]
        unknown = [field for field in inputs if field not in wanted]
        if missing or unknown:
            raise InputError(
                f"example {place} of {name} has the inputs {', '.join(inputs)}",
                why=f"{type(program).__name__} takes {', '.join(wanted)}",
                fix="name those with .with_inputs(...)",
            )
        key = key_of(inputs)
        if key in seen:
            raise InputError(
                f"examples {seen[key]} and {place} of {name} have the same inputs",
                why="a problem that stands twice counts twice, and makes intervals too small",
                fix="leave one of them out",
            )
        seen[key] = place


def check_apart(trainset: Sequence[dspy.Example], others: Sequence[dspy.Example], name: str = "valset") -> None:
    """Raise InputError for an example of the one that stands in the other: what is learnt from is no test."""
    known = {key_of(example.inputs().toDict()) for example in trainset}
    for place, example in enumerate(others):
        if key_of(example.inputs().toDict()) in known:
            raise InputError(
                f"example {place} of {name} stands in {'trainset' if name == 'valset' else 'trainset or valset'}, too",
                why="what a program was made from says nothing of how good it is",
                fix="divide the examples, or leave valset out: they are divided then"
                if name == "valset"
                else "test on others",
            )


def examples_digest(examples: Sequence[dspy.Example]) -> str:
    """A hash over all that is in them, in order."""
    hashed = hashlib.sha256()
    for example in examples:
        hashed.update(json.dumps(example.toDict(), sort_keys=True, default=str).encode() + b"\n")
    return hashed.hexdigest()[:16]


def check_varied(scores: Sequence[float], where: str, of: str) -> None:
    """Raise InputError for a metric that gave all of these the same, where nothing else shows that it can differ.

    where: `8 examples of the valset`. of: what such a metric says nothing of.
    """
    if len(scores) > 1 and len(set(scores)) == 1:
        raise InputError(
            f"the metric gave {scores[0]:g} for each of the {where}",
            why=f"a metric that is constant says nothing of {of}",
            fix="check the metric, and that the examples are neither all too easy nor all too hard for this model",
        )


async def varies(metric: Metric, examples: Sequence[dspy.Example]) -> bool:
    """Whether the metric is seen to tell answers apart, on the examples' own labels and each other's.

    False says nothing: only what a program gives can tell then. Raises InputError for a metric that raises or gives no
    number.
    """
    labelled = [example for example in examples if labels_of(example)]
    distinct = {json.dumps(dict(labels_of(example)), sort_keys=True, default=str): example for example in labelled}
    probed = list(distinct.values())[: _PROBED + 1]
    scores = set()
    for place, example in enumerate(probed[:_PROBED]):
        for shown in (example, probed[place - 1]):
            try:
                scores.add(await score_of(metric, example, dspy.Prediction(**labels_of(shown))))
            except InputError:
                raise
            except OTHER_FORM:
                return False
            except Exception as error:  # a metric may raise anything
                raise metric_raised(error) from error
    return len(scores) > 1


def name_of(metric: Any) -> str:
    """As the record knows it."""
    named = metric if hasattr(metric, "__qualname__") else getattr(metric, "func", type(metric))
    return f"{named.__module__}.{named.__qualname__}"
