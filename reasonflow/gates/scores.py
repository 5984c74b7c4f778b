"""How sure an answer is, as a number: what a gate holds against its threshold.

Every score says of what it is computed, in which direction it is better, and how many log-probabilities it needs of an
engine. Those cost: 20 a token halved the throughput at 64 branches. Ask for them where answers are short.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import InputError

Over: TypeAlias = Literal["min", "mean", "bottom"]
_EPSILON = 1e-6
"""Of the deviation of equal competitors: the released code's."""


class Unscored(ValueError):
    """What cannot be scored, with why. A gate never accepts it."""


class Score(Protocol):
    """A number out of whatever it is about."""

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        ...

    @property
    def logprobs(self) -> int:
        """Alternatives a token that a site must ask for; 0 where it needs none."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that the number depends on, in JSON's types: a threshold of other settings means nothing."""
        ...

    def of(self, value: Any) -> float:
        """The score. Raises Unscored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that are the fields."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"score": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability(Settings):
    """How far each token of an answer stands out from its competitors (SpecEyes, arXiv:2603.23483, section 3.2).

    Of one token: its logit less the mean of the others', over their deviation. Log-probabilities give the same number,
    and so does any temperature. Of the tokens of an answer, which may be wrong at any of them, the least counts.

    Of a sequence of TokenLogprobs, without the token that ends the turn. A greedy answer's, with nothing cut off: where
    top_k or top_p hide competitors, no score is right.
    """

    k: int = 64
    """Likeliest tokens that are looked at, the first one included. A threshold belongs to its k."""
    over: Over = "min"
    """Over the tokens: the least, the mean, or the mean of the lowest fifth."""
    competitors: bool = True
    """Mean and deviation of all but the first, as released; False: of all k, as the paper has it."""
    slope: float | None = 0.6
    """Of the sigmoid over the number; None leaves it as it is."""

    def __post_init__(self) -> None:
        if self.k < 3:
            raise InputError(f"separability over {self.k} tokens", fix="give k of 3 or more: a first and two others")

    @property
    def higher(self) -> bool:
        return True

    @property
    def logprobs(self) -> int:
        return self.k

    def of(self, value: Sequence[TokenLogprobs]) -> float:
        each = sorted(self.of_token([logprob for _, logprob in token.top]) for token in _tokens(value))
        if self.over == "min":
            return each[0]
        lowest = each if self.over == "mean" else each[: max(1, len(each) // 5)]
        return math.fsum(lowest) / len(lowest)

    def of_token(self, logits: Sequence[float]) -> float:
        """logits: or log-probabilities, in any order. Raises Unscored where there are fewer than k, or some hidden."""
        if len(logits) < self.k:
            raise Unscored(f"{len(logits)} log-probabilities a token, and k is {self.k}")
        first, *others = sorted(logits, reverse=True)[: self.k]
        if not all(map(math.isfinite, (first, *others))):
            raise Unscored("a log-probability is not finite: nothing may be cut off by top_k, top_p or a grammar")
        among = others if self.competitors else [first, *others]
        mean = math.fsum(among) / len(among)
        deviation = math.sqrt(math.fsum((logit - mean) ** 2 for logit in among) / len(among))
        raw = (first - mean) / (deviation + _EPSILON)
        return raw if self.slope is None else 1 / (1 + math.exp(-self.slope * raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProbability(Settings):
    """The geometric mean of the tokens' probabilities. Of a sequence of TokenLogprobs."""

    @property
    def higher(self) -> bool:
        return True

    @property
    def logprobs(self) -> int:
        return 1

    def of(self, value: Sequence[TokenLogprobs]) -> float:
        return 1 / Perplexity().of(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity(Settings):
    """exp of the mean negative log-probability of the tokens (ATTS, arXiv:2509.15148). Of TokenLogprobs."""

    @property
    def higher(self) -> bool:
        return False

    @property
    def logprobs(self) -> int:
        return 1

    def of(self, value: Sequence[TokenLogprobs]) -> float:
        tokens = _tokens(value)
        return math.exp(-math.fsum(token.logprob for token in tokens) / len(tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteShare(Settings):
    """The share of the answer that most samples gave. Of a list of answers; None counts as a sample without one."""

    @property
    def higher(self) -> bool:
        return True

    @property
    def logprobs(self) -> int:
        return 0

    def of(self, value: Sequence[Hashable]) -> float:
        counts = Counter(answer for answer in value if answer is not None)
        if not counts:
            raise Unscored("no sample has an answer")
        return max(counts.values()) / len(value)


@dataclass(frozen=True, slots=True)
class Measured:
    """Any number: a P(yes) of a verifier, a reward, what a function makes of a value.

    name: it stands in the gate's record: a gate of one name and another function is another gate.
    """

    name: str
    fn: Callable[[Any], float] = float
    higher: bool = True
    logprobs: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        return {"score": self.name, "higher": self.higher, "logprobs": self.logprobs}

    def of(self, value: Any) -> float:
        return float(self.fn(value))


def _tokens(value: Sequence[TokenLogprobs]) -> Sequence[TokenLogprobs]:
    if not value:
        raise Unscored("there are no log-probabilities: the engine gives none, or the answer is empty")
    return value
