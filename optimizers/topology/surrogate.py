"""What an untried setting would add to the front, guessed from those that were tried.

The guesses are linear: every value of a knob adds its part, and so does the logarithm of the cost, which is known
before a setting is tried. Tokens follow the cost closely, so they are taken as they are guessed. Of the accuracy a
guess is drawn from what the model holds for possible (Thompson 1933, Biometrika 25): what is hardly known is tried now
and then, and what was lucky once is not believed at once. A setting is worth the hypervolume that it would add, over
the root of its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reasonflow.optimizers.topology.hypervolume import Losses, hypervolume
from reasonflow.optimizers.topology.space import Options, Settings, Space

_EFFECT = 0.12
"""Of the accuracy, the deviation of a knob's part before anything is known of it."""
_NOISE = 0.12
"""Deviation of an accuracy from what it would be on very many problems: that of one half on 16."""
_SLOPE, _SLOPE_DEVIATION = 0.8, 1.5
"""Doublings of tokens by a doubling of the cost, before anything is known."""
_TOKENS, _TOKENS_NOISE = 0.5, 0.05
"""Deviations of a knob's part in the logarithm of tokens, and of such a logarithm."""
_PRICE = 0.5
"""The power of the cost that a gain is divided by. With 1 the search stayed at the cheap end for too long."""


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The model over one space."""

    space: Space
    cost: Callable[[Settings], float]
    """Of a run, above 0."""

    def best(self, candidates: Sequence[Settings], known: Sequence[tuple[Settings, Losses]], seed: int) -> Settings:
        """The candidate that promises most. known: what was tried, at least one, and (-accuracy, log tokens twice)."""
        draw = np.random.default_rng(seed)
        seen, wanted = self._features([settings for settings, _ in known]), self._features(candidates)
        losses = np.array([found for _, found in known])
        accuracy = -_drawn(seen, losses[:, 0], wanted, draw)
        guesses = np.stack(
            [
                -np.clip(accuracy, 0.01, 1.0),
                _tokens(seen, losses[:, 1], wanted),
                _tokens(seen, losses[:, 2], wanted),
            ],
            axis=1,
        )
        least_good = np.maximum(losses.max(axis=0), guesses.max(axis=0))[1:] + 0.1
        reference = (0.0, float(least_good[0]), float(least_good[1]))
        front = [found for _, found in known]
        before = hypervolume(front, reference)
        worth = [
            (hypervolume([*front, _three(guess)], reference) - before + 1e-4 * draw.random()) / self.cost(one) ** _PRICE
            for one, guess in zip(candidates, guesses, strict=True)
        ]
        return candidates[int(np.argmax(worth))]

    def _features(self, settings: Sequence[Settings]) -> np.ndarray:
        """(settings, features): which value each knob has, or where in its interval; the cost's logarithm last."""
        rows = []
        for one in settings:
            row = [1.0]
            for dimension in self.space.dimensions:
                value = one[dimension.name]
                if isinstance(dimension, Options):
                    row += [float(value == option) for option in dimension.values]
                else:
                    row += [dimension.place(value), dimension.place(value) ** 2]
            rows.append([*row, float(np.log2(self.cost(one)))])
        return np.array(rows)


def _drawn(seen: np.ndarray, values: np.ndarray, wanted: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Values of what is wanted under one model out of those that fit what was seen: Bayesian linear regression."""
    mean = values.mean()
    covariance = np.linalg.inv(seen.T @ seen / _NOISE**2 + np.eye(seen.shape[1]) / _EFFECT**2)
    centre = covariance @ seen.T @ (values - mean) / _NOISE**2
    weights = draw.multivariate_normal(centre, covariance, method="cholesky")
    guessed: np.ndarray = wanted @ weights + mean
    return guessed


def _tokens(seen: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The most likely logarithms of tokens."""
    prior = np.zeros(seen.shape[1])
    prior[-1] = _SLOPE
    deviations = np.full(seen.shape[1], _TOKENS)
    deviations[-1] = _SLOPE_DEVIATION
    rest = values - seen @ prior
    base = rest.mean()
    weights = np.linalg.solve(
        seen.T @ seen / _TOKENS_NOISE**2 + np.diag(1 / deviations**2), seen.T @ (rest - base) / _TOKENS_NOISE**2
    )
    guessed: np.ndarray = wanted @ (weights + prior) + base
    return guessed


def _three(guess: np.ndarray) -> Losses:
    return float(guess[0]), float(guess[1]), float(guess[2])
