"""`BranchFeedback`: tells an optimizer that reflects what the branches of a run did, and what became of it.

GEPA shows its reflecting model one call of a site and one text about it. In a parallel program that call is one of
many: the text says what the other branches answered, which were kept by the join or the workspace, what gates and
verifiers said, and what the right answer is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from reasonflow.optimizers.compile_data import OTHER_FORM
from reasonflow.optimizers.prompting.metrics import asked, score_of

_SHOWN = 8
"""Distinct answers and lines of a kind that are told."""
_LENGTH = 240
"""Characters of a text that is quoted."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a site: all its branches that could be read."""

    site: str
    predictor: Any
    inputs: Mapping[str, Any]
    branches: Sequence[Mapping[str, Any]]


class BranchFeedback:
    """A metric for `dspy.GEPA` made of any metric: `dspy.GEPA(metric=rf.BranchFeedback(rf.math_equal), ...)`.

    For a score it is the metric itself. For feedback on one call site it gives `dspy.Prediction(score, feedback)`, the
    metric's own feedback in front where it has some. judge_branches: ask the metric also about each distinct answer of
    the branches, to say which were right; turn it off for a metric that is dear.
    """

    def __init__(self, metric: Callable[..., Any], *, judge_branches: bool = True) -> None:
        self.metric = metric
        self.judge_branches = judge_branches
        named = metric if hasattr(metric, "__qualname__") else type(metric)
        self.__module__, self.__qualname__ = named.__module__, named.__qualname__  # records know metrics by name

    def __call__(
        self, gold: dspy.Example, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
    ) -> Any:
        found = asked(self.metric, gold, pred, trace, pred_name, pred_trace)
        if pred_name is None:
            return found
        own = found.get("feedback") if isinstance(found, (dspy.Prediction, dict)) else None
        text = self.tell(gold, pred, trace or (), pred_name, pred_trace, score_of(found))
        return dspy.Prediction(score=score_of(found), feedback=f"{own}\n{text}" if own else text)

    def tell(self, gold: dspy.Example, pred: Any, trace: Any, name: str, site_trace: Any, score: float) -> str:
        """What happened, for the site of this name."""
        calls = [_call(entry) for entry in trace]
        mine = _own(calls, trace, name, site_trace)
        lines = [f"Score {score:g}.", *_right(gold), f"The program answered: {_fields(_given(pred))}."]
        judged = _Judged(self, gold, pred)
        for number, call in enumerate(mine, start=1):
            head = f"Call {number} of {len(mine)} of {name}" if len(mine) > 1 else f"The call of {name}"
            lines += _told(head, call, judged, pred, _later(calls, call))
        return "\n".join([*lines, *_said(pred, name)])


class _Judged:
    """Says whether an answer is right, each distinct one once."""

    def __init__(self, feedback: BranchFeedback, gold: dspy.Example, pred: Any) -> None:
        self._feedback, self._gold = feedback, gold
        self._wanted = set(_given(pred))
        self._known: dict[str, str] = {}

    def named(self, branches: Sequence[Mapping[str, Any]]) -> list[str]:
        """Of one text that is no answer itself: whether it holds the right one."""
        if len(branches) != 1 or not self._wanted or self._wanted <= set(branches[0]):
            return []
        labels = [value for name, value in _labels(self._gold).items() if name in self._wanted]
        if not labels:
            return []
        text = " ".join(_plain(value) for value in branches[0].values())
        return [f"It {'names' if all(_names(text, label) for label in labels) else 'does not name'} the right answer."]

    def __call__(self, branch: Mapping[str, Any]) -> str:
        """` (right)`, ` (wrong)`, or nothing where a branch gives no answer of the program's form."""
        if not self._feedback.judge_branches or not self._wanted or not self._wanted <= set(branch):
            return ""
        key = _fields(branch)
        if key not in self._known:
            if len(self._known) >= _SHOWN:
                return ""
            try:
                score = score_of(asked(self._feedback.metric, self._gold, dspy.Prediction(**branch)))
            except OTHER_FORM:  # a metric may read more of a prediction than a branch has, its run for one
                self._known[key] = ""
            except Exception as error:  # a metric may raise anything: the model that reflects is told so
                self._known[key] = f" (not judged: {type(error).__name__})"
            else:
                self._known[key] = " (right)" if score >= 1 else " (wrong)" if score <= 0 else f" (score {score:g})"
        return self._known[key]


def _call(entry: Any) -> _Call:
    predictor, inputs, given = entry
    completions = getattr(given, "completions", None)
    branches: list[Mapping[str, Any]] = []
    if completions is not None:
        branches = [dict(completions[number].items()) for number in range(len(completions))]
    elif hasattr(given, "items"):
        branches = [dict(given.items())]
    return _Call(getattr(given, "_site", ""), predictor, dict(inputs), branches)


def _own(calls: list[_Call], trace: Any, name: str, site_trace: Any) -> list[_Call]:
    """The calls of the site that is asked about."""
    named = [call for call in calls if call.site == name]
    if named or not site_trace:
        return named
    # A trace that is not ours: the predictor of the very call that GEPA has picked.
    picked = next((entry[0] for entry in trace if entry[2] is site_trace[0][2]), None)
    return [call for call in calls if call.predictor is picked]


def _later(calls: list[_Call], call: _Call) -> list[_Call]:
    """What other calls read afterwards."""
    place = next(number for number, other in enumerate(calls) if other is call)
    return calls[place + 1 :]


def _told(head: str, call: _Call, judged: _Judged, pred: Any, later: list[_Call]) -> list[str]:
    lines = []
    reads = {name: value for name, value in call.inputs.items() if isinstance(value, (list, tuple))}
    for name, items in reads.items():
        lines.append(f"{head} read {len(items)} texts as {name}: {_tally([_short(_answer(item)) for item in items])}.")
    if len(call.branches) == 1:
        lines.append(f"{head} gave: {_fields(_outputs(call.branches[0]))}{judged(call.branches[0])}.")
    else:
        answers = [f"{_fields(_outputs(branch))}{judged(branch)}" for branch in call.branches]
        lines.append(f"{head} made {len(answers)} branches, which answered: {_tally(answers)}.")
    return [*lines, *judged.named(call.branches), *_fate(call, pred, later, judged)]


def _fate(call: _Call, pred: Any, later: list[_Call], judged: _Judged) -> list[str]:
    """Which branches the result agrees with, and which of them later steps read."""
    lines, given, width = [], _given(pred), len(call.branches)
    kept = [n for n, branch in enumerate(call.branches) if given and _agrees(branch, given)]
    if set(given) <= set(call.branches[0] if call.branches else ()):
        which = "it" if width == 1 and kept else f"{len(kept)} of {width} branches"
        lines.append(f"The result agrees with {which}.")
    for reader in later:
        for name, value in reader.inputs.items():
            if name in call.inputs and call.inputs[name] == value:
                continue  # what both read is no news
            passed = [branch for branch in call.branches if _stands_in(branch, value)]
            if passed:
                what = _tally([f"{_fields(_outputs(branch))}{judged(branch)}" for branch in passed])
                lines.append(
                    f"Kept in the {name} of {reader.site or 'a later step'}: {len(passed)} of {width}"
                    + (f", {what}." if width > 1 else ".")
                )
    return list(dict.fromkeys(lines))


def _said(pred: Any, name: str) -> list[str]:
    """What gates, joins and verifiers have noted in the run, and what could not be read."""
    run = getattr(pred, "run", None)
    if run is None:
        return []
    lines = [f"In the run: {_short(note)}" for note in run.notes[:_SHOWN]]
    lines += [f"Failed: {_short(failure)}" for failure in run.failures[:_SHOWN] if failure.startswith(name)]
    return [*lines, f"Cut short: {run.cut}."] if run.cut else lines


def _right(gold: dspy.Example) -> list[str]:
    labels = _labels(gold)
    told = {"answer": labels["answer"]} if "answer" in labels else labels
    return [f"The right {name}: {_short(value)}." for name, value in list(told.items())[:_SHOWN]]


def _labels(gold: dspy.Example) -> dict[str, Any]:
    try:
        return dict(gold.labels().toDict())
    except (AttributeError, ValueError):  # an example that does not say what its inputs are
        return {}


def _agrees(branch: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return all(name in branch and _plain(branch[name]) == _plain(value) for name, value in given.items())


def _stands_in(branch: Mapping[str, Any], value: Any) -> bool:
    """Whether a later step read this branch: all of it in one text of a list, or its answer in a text of its own."""
    if isinstance(value, (list, tuple)):
        texts = [_plain(text) for text in branch.values() if text not in (None, "")]
        items = [" ".join(_plain(part) for part in _parts(item)) for item in value]
        return bool(texts) and any(all(_names(item, text) for text in texts) for item in items)
    return all(_names(value, text) for text in _outputs(branch).values())


def _names(text: Any, answer: Any) -> bool:
    """Whether a text has the answer in it as a word of its own."""
    word = "" if answer is None else _plain(answer)
    return bool(word) and re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", _plain(text)) is not None


def _parts(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, Mapping) else [item]


def _answer(item: Any) -> Any:
    """What a branch that another step reads has answered: its last field, or the end of its text."""
    if isinstance(item, Mapping):
        return list(item.values())[-1] if item else ""
    text = str(item).strip()
    return text if len(text) <= _LENGTH // 4 else "…" + text[-_LENGTH // 4 :]


def _given(pred: Any) -> dict[str, Any]:
    """What the program gave, its reasoning left out."""
    return _outputs(dict(pred.items())) if hasattr(pred, "items") else {}


def _outputs(fields: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in fields.items() if name not in ("reasoning", "thinking")}
    return rest or dict(fields)


def _fields(fields: Mapping[str, Any]) -> str:
    if len(fields) == 1:
        return _short(next(iter(fields.values())))
    return ", ".join(f"{name} {_short(value)}" for name, value in fields.items()) or "nothing"


def _tally(answers: Sequence[str]) -> str:
    counts = Counter(answers).most_common()
    told = [f"{answer} × {count}" if count > 1 else answer for answer, count in counts[:_SHOWN]]
    return "; ".join(told) + (f"; and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _plain(value: Any) -> str:
    return " ".join(str(value).split())


def _short(value: Any) -> str:
    text = "nothing that can be read" if value is None else _plain(value)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
