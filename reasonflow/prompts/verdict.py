"""A yes-or-no judgement as a number: the probability of Yes, out of the log-probabilities of the first word.

The published verifiers average the probability of one spelling over several samples (MARS-SQL, arXiv:2511.01008). All
samples of a prompt share the distribution of their first token, so one sample tells as much; all spellings count here,
and No is what the number is measured against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.prompts.answer_tokens import after_thinking
from reasonflow.prompts.thinking import THINK, ThinkTags

SETTINGS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 4, "logprobs": 20}
"""Sampling of a site that asks for a verdict, where nobody says otherwise. One token is enough for most models; a few
more let others begin with a line break or a star. 20 alternatives are what vLLM and OpenAI's API give at most."""

NO_LOGPROBS = "the engine reports no log-probabilities: the word itself decides"
NO_VERDICT = "neither Yes nor No: counted as No"

_AROUND = " \t\r\n*_`\"'.,:;!#()[]ĠĊ▁"
"""What tokenizers and models put around a word; the last three are how some engines print a space and a line break."""


class Verdict(NamedTuple):
    score: float
    """Probability of Yes, out of Yes and No."""
    repair: str | None


def read_verdict(
    text: str, logprobs: Sequence[TokenLogprobs], tags: ThinkTags = THINK, *, opened: bool = False
) -> Verdict:
    """The verdict of one sample. Never raises.

    text: without its thinking. logprobs: of all its tokens, thinking included; empty where the engine reports none.
    opened: the prompt ended inside a thought.
    """
    if not logprobs:
        words = [word.strip(_AROUND).casefold() for word in text.split()]
        said = next((word for word in words if word in ("yes", "no")), None)
        return Verdict(float(said == "yes"), NO_LOGPROBS if said else f"{NO_LOGPROBS}, and it is {NO_VERDICT}")
    for token in after_thinking(logprobs, tags, opened):
        yes, no = _chances(token)
        if yes or no:
            return Verdict(yes / (yes + no), None)
    return Verdict(0.0, NO_VERDICT)


def verdict_word(score: Any) -> str:
    """The word that stands for a score in a demo."""
    if isinstance(score, str):
        return "Yes" if score.strip(_AROUND).casefold() in ("yes", "true", "1", "1.0") else "No"
    return "Yes" if float(score) >= 0.5 else "No"


def _chances(token: TokenLogprobs) -> tuple[float, float]:
    """Probabilities of Yes and of No at one place, over all their spellings."""
    found = {"yes": 0.0, "no": 0.0}
    for spelling, logprob in {token.token: token.logprob, **dict(token.top)}.items():
        word = spelling.strip(_AROUND).casefold()
        if word in found:
            found[word] += math.exp(logprob)
    return found["yes"], found["no"]
