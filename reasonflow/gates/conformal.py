"""Where a score stands among those of a calibration set (ATTS, arXiv:2509.15148, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from reasonflow.errors import InputError


def p_value(score: float, calibration: Sequence[float]) -> float:
    """The share of scores that are at least as high, itself among them: at most p with chance p, of exchangeable ones.

    As the paper has it. Its scores are negative perplexities: a high p is a bad candidate. Never 0.
    """
    return (1 + sum(other >= score for other in calibration)) / (len(calibration) + 1)


def percentile(score: float, calibration: Sequence[float]) -> float:
    """The share of scores that are lower, as in the released code, without the candidate itself.

    Raises InputError without calibration.
    """
    if not calibration:
        raise InputError("a percentile among no scores", fix="give the scores of a calibration set")
    return sum(other < score for other in calibration) / len(calibration)
