"""A gate: what is sure enough passes, the rest goes on to something stronger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dspy.predict.parameter import Parameter

from reasonflow.errors import InputError
from reasonflow.gates.scores import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Where a threshold comes from."""

    method: str
    """How it was found, in a word: "simultaneous bound", "takeover", "published, released"."""
    digest: str
    """Of the scores and verdicts that it was found on; empty where there were none."""
    samples: int
    model: str
    """Fingerprint of the model whose scores they were; empty: of any."""
    settings: Mapping[str, Any]
    """Of the score."""
    alpha: float | None = None
    """Errors among what is accepted, at most."""
    delta: float | None = None
    """Chance, over calibration sets, that there are more."""
    acceptance: float | None = None
    """Share of the calibration set that passes; None where there is none."""


class Decision(NamedTuple):
    """What a gate says of one candidate."""

    accepted: bool
    score: float | None
    """None where there is none: then it is not accepted."""
    why: str


class Gate(Parameter):
    """Holds a score against a threshold. DSPy sees a parameter: it is saved and loaded with its program.

    It refuses to be used uncalibrated, or on another model, k or mode than it was calibrated on. What cannot be scored
    is not accepted.

    score: see `gate_scores`.
    threshold: set by hand, without any promise; `optimizers.gates.calibrate` finds one with a promise.
    strict: only what is beyond the threshold passes, as in the released SpecEyes; else what equals it does, too.
    """

    def __init__(self, score: Score, threshold: float | None = None, *, strict: bool = False) -> None:
        self.score = score
        self.strict = strict
        self.threshold = None if threshold is None else _number(threshold)
        self.calibration: Calibration | None = None

    def set(self, threshold: float | None, calibration: Calibration) -> None:
        """What a calibration found. threshold: None where nothing can be promised: then nothing passes."""
        self.threshold, self.calibration = None if threshold is None else _number(threshold), calibration

    def decide(self, value: Any, *, model: str = "") -> Decision:
        """Whether a candidate passes. model: the fingerprint of the model that made the value.

        Raises InputError for a gate without a threshold, and for one that was calibrated on something else.
        """
        self.check(model=model)
        score, why = self.measure(value)
        if score is None:
            return Decision(False, None, f"not scored: {why}")
        if self.threshold is None:
            return Decision(False, score, "no threshold holds what was asked for: nothing passes")
        return Decision(self.passes(self.threshold, score), score, f"{score:.6g} against {self.threshold:.6g}")

    def measure(self, value: Any) -> tuple[float | None, str]:
        """The score; None and why where there is none: whatever goes wrong with it, the stronger side answers."""
        try:
            score = self.score.of(value)
        except Exception as error:  # told to whoever asked, and never accepted
            return None, str(error) or type(error).__name__
        return (None, "the score is not a number") if math.isnan(score) else (score, "")

    def passes(self, threshold: float | None, score: float) -> bool:
        """Whether a score would pass a threshold. None passes nothing, and what is not a number passes none."""
        if threshold is None or math.isnan(score):
            return False
        return not self.strict if score == threshold else (score > threshold) == self.score.higher

    def check(self, *, model: str = "") -> None:
        """Raises InputError for a gate that cannot be used, or not on this model."""
        found = self.calibration
        if found is None:
            if self.threshold is None:
                raise InputError(
                    "the gate has no threshold",
                    fix="calibrate it: reasonflow.optimizers.gates.calibrate, or give a threshold by hand",
                )
            return
        settings = dict(found.settings)
        if settings != self.score.settings:
            raise InputError(
                "the gate was calibrated with another score",
                why=f"then {_apart(settings, self.score.settings)}, now {_apart(self.score.settings, settings)}",
                fix="calibrate it again, or use the score that it was calibrated with",
            )
        if found.model and model and found.model != model:
            raise InputError(
                "the gate was calibrated on another model",
                why=f"then {found.model}, now {model}",
                fix="calibrate it on this model",
            )

    def reset(self) -> None:
        """Nothing: DSPy resets parameters to forget what was learnt of demos."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """In JSON's types."""
        found = self.calibration
        return {
            "threshold": self.threshold,
            "strict": self.strict,
            "calibration": None if found is None else {**asdict(found), "settings": dict(found.settings)},
        }

    def load_state(self, state: dict[str, Any]) -> Gate:
        """Take what `dump_state` gave. The score stays: where it is another one, the gate refuses."""
        self.threshold, self.strict = state["threshold"], state["strict"]
        found = state["calibration"]
        self.calibration = None if found is None else Calibration(**found)
        return self

    def __repr__(self) -> str:
        return f"Gate({self.score!r}, {self.threshold})"


def is_threshold(value: Any) -> bool:
    """Whether a score can be held against it."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(threshold: float) -> float:
    if not math.isfinite(threshold):
        raise InputError(f"a threshold of {threshold}", fix="give a finite number")
    return float(threshold)


def _apart(these: Mapping[str, Any], those: Mapping[str, Any]) -> str:
    """What is in these and otherwise in those."""
    return ", ".join(f"{key} {value!r}" for key, value in these.items() if those.get(key, ...) != value) or "less"
