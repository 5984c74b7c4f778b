"""What DSPy is told after a run: its trace, its usage tracker, its history, as if its own predictors had run in plan
order.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

import dspy
from dspy.clients.base_lm import record_history

from reasonflow.language.program import Traced
from reasonflow.plan.nodes import Plan
from reasonflow.prompts.styles import REASONING
from reasonflow.runtime.call import Made, TracedCalls
from reasonflow.runtime.values import Hole, Record


def report(
    made: Sequence[Made | TracedCalls], plan: Plan, traced: Traced, *, result: Any = None, spending: bool = True
) -> None:
    """Append to the caller's trace, usage and history, once per call, in plan order with the identical predictors.

    result: of the run. Of several branches one that agrees with it stands first in the trace: the first completion is
        what optimizers show as a demo, and what they reflect on.
    spending: also usage and history; without it only the trace, for a caller who joined a run another one pays for.
    """
    position = {node.name: number for number, node in enumerate(plan.walk())}
    ordered = sorted(made, key=lambda call: (position.get(call.order[0], len(position)), call.order[1]))
    trace = dspy.settings.trace
    tracker = dspy.settings.usage_tracker
    longest, silent = dspy.settings.max_trace_size, dspy.settings.disable_history
    told_at = datetime.datetime.now().isoformat()
    for call in ordered:
        if isinstance(call, TracedCalls):
            for entry in call.entries:
                _append(trace, longest, entry)
            continue
        fields = [record.fields for record in call.records if not isinstance(record, Hole)]
        if trace is not None and fields and not call.site.continues:  # which answers no signature
            ordered_fields = _agreeing_first(fields, result)
            prediction = dspy.Prediction.from_completions(ordered_fields, signature=call.site.signature)
            prediction._site = call.site.name
            _append(trace, longest, (call.binding.predictor, dict(call.inputs), prediction))
        if not spending:
            continue
        lm = call.binding.lm
        spent = (*call.completions, *call.cancelled)
        read, written = sum([c.prompt_tokens for c in spent]), sum([c.output_tokens for c in spent])
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        if tracker is not None and lm is not None:
            tracker.add_usage(lm.model, usage)
        if lm is not None and call.completions and not silent:
            record_history(lm, _entry(call, lm, usage, told_at))


def _agreeing_first(fields: list[dict[str, Any]], result: Any) -> list[dict[str, Any]]:
    """The branches, the first of those that answer as the run did in front of the others."""
    if len(fields) < 2 or not isinstance(result, Record):
        return fields
    answer = {name: value for name, value in result.fields.items() if name != REASONING}
    agrees = (all(name in each and each[name] == value for name, value in answer.items()) for each in fields)
    first = next((place for place, same in enumerate(agrees) if same), 0)
    return [fields[first], *fields[:first], *fields[first + 1 :]]


def _append(trace: list[Any] | None, longest: int, entry: Any) -> None:
    """As DSPy's own predictors do it: the oldest entry makes room."""
    if trace is None or longest <= 0:
        return
    if len(trace) >= longest:
        trace.pop(0)
    trace.append(entry)


def _entry(call: Made, lm: dspy.BaseLM, usage: dict[str, int], told_at: str) -> dict[str, object]:
    return {
        "prompt": None,
        "messages": [dict(message) for message in call.prompt.messages],
        "kwargs": {"n": len(call.completions)},
        "response": None,
        "outputs": [completion.text for completion in call.completions],
        "usage": usage,
        "cost": None,
        "timestamp": told_at,
        "uuid": str(uuid.uuid4()),
        "model": lm.model,
        "response_model": lm.model,
        "model_type": lm.model_type,
    }
