"""The thresholds of the papers: constants that were chosen on the data they were tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from reasonflow.errors import InputError
from reasonflow.gates.scores import Perplexity, Score, Separability

Source: TypeAlias = Literal["released", "paper"]
"""Which of the two, where the code of a paper does otherwise than its text."""

SPECEYES = 0.98
"""SpecEyes' default threshold (arXiv:2603.23483): of the least separability, of k 64, under the sigmoid."""
ATTS = 0.6
"""Among the calibration perplexities, where ATTS' target takes over (arXiv:2509.15148): both released scripts have it
written into them, and the paper leaves it open."""


class Published(NamedTuple):
    """A threshold, and whether what equals it does not pass."""

    threshold: float
    strict: bool


def published(score: Score, scores: Sequence[float], source: Source) -> Published:
    """What a paper would set for this score on these scores of a calibration set.

    SpecEyes looks at none. Of `Separability()` as it is, what exceeds 0.98 passes, as released; in the paper mean and
    deviation are of all k (`competitors=False`), and what equals 0.98 passes, too.
    ATTS looks at all of them as one array ("marginal"). As released a chunk passes whose `percentile`, the share of
    perplexities below its own, is less than 0.6. In the paper its conformal p-value, which counts the chunk itself,
    is at most that.
    Raises InputError for a score that is in no paper, and for perplexities of none.
    """
    if score == Separability(competitors=source == "released"):
        return Published(SPECEYES, strict=source == "released")
    if score != Perplexity():
        raise InputError(
            f"no paper has a threshold of {score!r}",
            why=f"known: Separability({'competitors=False' if source == 'paper' else ''}), Perplexity()",
            fix="use one of these as it is, or calibrate without faithful",
        )
    if not scores:
        raise InputError("a percentile among no scores", fix="give samples with scores")
    ordered = sorted(scores)
    if source == "released":
        # Fewer than 0.6 of all are below a score exactly where it is at most this one.
        return Published(ordered[math.ceil(ATTS * len(ordered)) - 1], strict=False)
    # A chunk's p-value is (1 + perplexities at most its own) / (all + 1): at most 0.6 exactly below this one.
    return Published(ordered[math.floor(ATTS * (len(ordered) + 1)) - 1], strict=True)
