"""How sure a model is while it writes, by stretches of tokens (DeepConf, arXiv:2508.15260)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import InputError
from reasonflow.gates.scores import Score, Settings, Unscored

_LEAST_LOGPROB = -100.0
"""Of an alternative: what a grammar or an engine's own cut rules out is minus infinity, and would be all of a mean."""


class Prefix(Protocol):
    """What is known of one text while it is written. Its tokens are fed in any pieces, each once, in their order."""

    @property
    def lowest(self) -> float | None:
        """The lowest score of any stretch until now; None before the first stretch is whole."""
        ...

    def feed(self, tokens: Sequence[TokenLogprobs]) -> None:
        """Some more of its tokens."""
        ...


class PrefixScore(Score, Protocol):
    """A score that is known before a text ends, and can only fall while it goes on. Higher is surer."""

    def begin(self) -> Prefix:
        """A text of which nothing is written yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfidence(Settings):
    """The lowest group confidence of a text.

    The confidence of a token is minus the mean log-probability of the `k` likeliest at its place: where one stands out
    the others are far below, and their mean is low. A group's is the mean over `window` tokens in a row, one group
    ending at every token. Of a text the lowest counts, since one lost stretch is enough to spoil the rest; a text that
    is shorter than a window is one group.

    Of all tokens of a text, thinking and the one that ends it included, as released. An engine that reports fewer than
    k at a place is taken at what it reports.
    """

    k: int = 20
    window: int = 2048
    """Tokens. As published, for models that think long: of a small one's texts, a quarter of their length or less."""

    def __post_init__(self) -> None:
        for name, number in (("k", self.k), ("window", self.window)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise InputError(f"{name}={number!r} of a group confidence", fix="give a whole number from 1 up")

    @property
    def higher(self) -> bool:
        return True

    @property
    def logprobs(self) -> int:
        return self.k

    def begin(self) -> ConfidenceWindow:
        return ConfidenceWindow(self.k, self.window)

    def of(self, value: Sequence[TokenLogprobs]) -> float:
        text = self.begin()
        text.feed(value)
        return text.score


class ConfidenceWindow:
    """The group confidences of one text so far."""

    def __init__(self, k: int, window: int) -> None:
        self._k, self._window = k, window
        self._last: deque[float] = deque()
        self._sum = 0.0
        self.current: float | None = None
        """Of the group that ends with the last token; None before there are enough tokens for one."""
        self.lowest: float | None = None

    def feed(self, tokens: Sequence[TokenLogprobs]) -> None:
        """Raises Unscored for a token without alternatives."""
        for token in tokens:
            self._add(token_confidence(token, self._k))

    def _add(self, confidence: float) -> None:
        self._last.append(confidence)
        self._sum += confidence
        if len(self._last) > self._window:
            self._sum -= self._last.popleft()
        if len(self._last) == self._window:
            self.current = self._sum / self._window
            self.lowest = self.current if self.lowest is None else min(self.lowest, self.current)

    @property
    def score(self) -> float:
        """The lowest group's; of a text shorter than a window, the mean over all of it. Raises Unscored for no text."""
        if self.lowest is not None:
            return self.lowest
        if not self._last:
            raise Unscored("there are no log-probabilities: the engine gives none, or the text is empty")
        return self._sum / len(self._last)


def token_confidence(token: TokenLogprobs, k: int) -> float:
    """Minus the mean log-probability of the k likeliest at a token's place. Raises Unscored where there are none."""
    likeliest = token.top[:k]
    if not likeliest:
        raise Unscored("a token has no alternatives: the engine reports the chosen ones alone")
    return -math.fsum(max(_LEAST_LOGPROB, logprob) for _, logprob in likeliest) / len(likeliest)


def percentile_of(scores: Iterable[float], percent: float) -> float:
    """The number below which `percent` of the scores lie, on a line between the two nearest (as NumPy's default).

    Raises InputError for no scores, and for a percent outside of 0 to 100.
    """
    ranked = sorted(scores)
    if not ranked or not 0 <= percent <= 100:
        raise InputError(f"the {percent:g}th percentile of {len(ranked)} scores", fix="give some scores, and 0 to 100")
    place = percent / 100 * (len(ranked) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])
