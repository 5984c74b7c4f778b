"""What a compile is of: equal, or it is another one, and what is on record is not its own."""

from __future__ import annotations

import re
from typing import Any

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.language.program import Program, trace
from reasonflow.optimizers.compile_data import name_of
from reasonflow.plan.serialise import digest
from reasonflow.runtime.measured import state_of


def identity(program: Program, metric: Any, lm: dspy.BaseLM) -> dict[str, Any]:
    """The program as it came, the metric's name, and the model with how it samples; in JSON's types."""
    with dspy.context(lm=None, adapter=None, trace=None):
        plan = digest(trace(program).plan)
    kind = type(program)
    return {
        "program": f"{kind.__module__}.{kind.__qualname__}",
        "plan": plan,
        "state": state_of(program),
        "metric": name_of(metric),
        **model_identity(lm),
    }


def model_identity(lm: dspy.BaseLM) -> dict[str, Any]:
    """Which model it is and how it samples, without seeds and keys."""
    runtime = runtime_behind(lm)
    return {
        "model": {"name": lm.model} if runtime is None else dict(runtime.identity),
        "sampling": {name: value for name, value in lm.kwargs.items() if name not in ("seed", "api_key")},
    }


def artifact_name(program: Program) -> str:
    """The file that it is written into: `pdr.json` for PDR, `best_of_n.json` for BestOfN."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(program).__name__).lower() + ".json"
