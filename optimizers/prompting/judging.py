"""A metric as DSPy's optimizers call it: with two, three or five arguments, from threads, for a number or feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy

from reasonflow.optimizers.prompting.feedback import BranchFeedback
from reasonflow.optimizers.prompting.metrics import score_of
from reasonflow.optimizers.prompting.trials import Trials
from reasonflow.runtime.ambient import surrounded


class Judge:
    """Asks the metric, and tells the trials what a run was worth."""

    def __init__(self, metric: Callable[..., Any], trials: Trials) -> None:
        self._metric = metric if isinstance(metric, BranchFeedback) else BranchFeedback(metric)
        self._trials = trials
        self.failed: Exception | None = None
        """What the metric raised first."""

    def __call__(
        self, gold: dspy.Example, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
    ) -> Any:
        """A number; for `pred_name` a prediction with `score` and `feedback`. Raises what the metric raises."""
        try:
            # What the metric asks of a model is its own affair.
            with surrounded(host=None, ledger=None, journal=None):
                found = self._metric(gold, pred, trace, pred_name, pred_trace)
            score = score_of(found)
        except Exception as error:  # a metric may raise anything; DSPy logs it and counts 0
            self.failed = self.failed or error
            self._trials.scored(pred, 0.0)
            raise
        if pred_name is not None:
            return found
        self._trials.scored(pred, score)
        return score
