"""What earlier runs of a program measured: the calls of each step, how long they were, and how fast they came."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from reasonflow.errors import InputError
from reasonflow.plan.explain import Explanation
from reasonflow.plan.extent import UNKNOWN, Asked, Prompted, Reader
from reasonflow.plan.nodes import Plan
from reasonflow.plan.serialise import digest
from reasonflow.runtime.engines import model_behind
from reasonflow.runtime.record import Run

Past: TypeAlias = Run | str | Path
"""A run's record, or the folder of an evaluation."""

SAMPLES, MANIFEST = "samples.jsonl", "manifest.json"
FIGURES = ("calls", "input_tokens", "output_tokens", "total_tokens", "sequential_tokens")


@dataclass(slots=True)
class Step:
    """One step, or one call site, in all runs."""

    calls: int = 0
    possible: float = 0.0
    """Calls its plans allowed at most."""
    input: int = 0
    output: int = 0

    @property
    def share(self) -> float:
        """Of the calls that were possible."""
        return self.calls / self.possible


@dataclass(slots=True)
class Measured:
    """All of a history."""

    runs: int = 0
    steps: dict[str, Step] = field(default_factory=lambda: defaultdict(Step))
    """By the step's name, and by `site NAME`. Only run records tell them apart."""
    totals: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Each figure of the runs of this very plan; of runs of other plans only the steps count."""
    outputs: float = 0.0
    elapsed_s: float = 0.0
    """Seconds in which those tokens were written, beside each other as they were."""
    calls: int = 0
    """Of the evaluations, whose records do not tell steps apart."""

    @property
    def tokens_per_s(self) -> float | None:
        """Output tokens; None where nothing took time."""
        return self.outputs / self.elapsed_s if self.outputs and self.elapsed_s > 0 else None

    def step(self, asked: Asked) -> Step | None:
        """What is known of a step: of itself, else of its call site."""
        for name in (asked.node, f"site {asked.site}"):
            if name in self.steps and self.steps[name].possible:
                return self.steps[name]
        return None

    def mean(self, figure: str) -> float | None:
        """Of one run of this plan."""
        values = self.totals.get(figure)
        return sum(values) / len(values) if values else None


def measured(history: Iterable[Past], program: dspy.Module, plan: Plan) -> Measured:
    """What `history` says of a program whose lowered plan this is.

    Raises InputError for what is neither a run's record nor the folder of an evaluation of this very program.
    """
    if isinstance(history, (str, Path, Run)):
        history = [history]
    found = Measured()
    here = digest(plan)
    for past in history:
        if isinstance(past, Run):
            _add_run(found, past, plan, here)
        elif isinstance(past, (str, Path)):
            _add_folder(found, Path(past), program)
        else:
            raise InputError(
                f"history holds {type(past).__name__}",
                fix="give records of runs (history=[out.run]) or folders of evaluations (history=['runs/a'])",
            )
    return found


def state_of(program: dspy.Module) -> str:
    """The digest by which evaluations know a program's state: demos, instructions, choices.

    Of language models of its own it has which they are and how they sample, without seeds: an engine need not be one
    that can be saved.
    """
    own = {name: each.lm for name, each in program.named_predictors() if each.lm is not None}
    if own:
        program = program.deepcopy()
        for _, predictor in program.named_predictors():
            predictor.lm = None
    state = program.dump_state()
    if own:
        state = {"state": state, "models": {name: _model_of(lm) for name, lm in own.items()}}
    return sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _model_of(lm: dspy.LM) -> list[Any]:
    sampling = {name: value for name, value in lm.kwargs.items() if name not in ("seed", "api_key")}
    return [model_behind(lm) or lm.model, sampling]


def _add_run(found: Measured, run: Run, plan: Plan, here: str) -> None:
    explanation = run.explain()
    if isinstance(explanation, Explanation):
        theirs, same = explanation.plan, digest(explanation.plan) == here
    else:  # a run that was pickled has no plan any more, but the digest of what it was
        theirs, same = plan, explanation.to_json()["digest"] == here
    if theirs is plan and not same:
        raise InputError(
            f"a run of {run.program} in history was saved without its plan",
            why="it is of another program, or of other settings, and nothing says which call sites made its calls",
            fix="give runs of the program as it is now, or records that were not pickled",
        )
    found.runs += 1
    by_site: dict[str, str] = {}
    for asked in _asked(theirs):
        by_site[asked.node] = asked.site
        for name in (asked.node, f"site {asked.site}"):
            found.steps[name].possible += asked.calls
    for span in run.spans:
        for name in (span.node, f"site {by_site[span.node]}") if span.node in by_site else ():
            step = found.steps[name]
            step.calls += 1
            step.input += span.input_tokens
            step.output += span.output_tokens
    usage = run.usage
    if same:
        for name in FIGURES[:-1]:
            found.totals[name].append(getattr(usage, name))
        found.totals["sequential_tokens"].append(run.sequential_tokens)
    found.outputs += usage.output_tokens
    found.elapsed_s += run.wall_s


def _asked(plan: Plan) -> Sequence[Asked]:
    """The calls a plan may make, step by step."""
    nothing = Prompted(prompt=None, template=0, cap=None, window=None)
    return Reader(lambda op, values: nothing).plan(plan, [UNKNOWN] * len(plan.inputs)).asked


def _add_folder(found: Measured, folder: Path, program: dspy.Module) -> None:
    manifest = _manifest(folder)
    name = f"{type(program).__module__}.{type(program).__qualname__}"
    for what, here in (("program", name), ("state", state_of(program))):
        if manifest.get(what) != here:
            raise InputError(
                f"{folder} holds runs of another program",
                why=f"its {what} is {manifest.get(what)!r}, and this one's {here!r}",
                fix="give the folder of an evaluation of the program as it is now, or records of its runs",
            )
    last: dict[int, float] = {}
    for row in _rows(folder / SAMPLES):
        if any(row.get(figure) is None for figure in FIGURES):
            continue  # it failed before it had a record
        found.runs += 1
        found.calls += row["calls"]
        found.outputs += row["output_tokens"]
        for figure in FIGURES:
            found.totals[figure].append(row[figure])
        last[row.get("session", 0)] = max(last.get(row.get("session", 0), 0.0), row.get("ended_s", 0.0))
    found.elapsed_s += sum(last.values())


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is no folder of an evaluation",
            why=str(error),
            fix="give what `reasonflow eval --out` or rf.evaluate(out=) was given",
        ) from error
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # Half a last line is one that is being written, or was when its writer was killed.
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].split("\n")
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"{path} is damaged", why=str(error), fix="leave this folder out of history") from error
