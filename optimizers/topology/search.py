"""Who proposes settings: asked for the next one and told what came of each, it calls no model itself.

A search has no state of its own. What it proposes follows from its seed and from what it was told, so that a history
read from disk goes on exactly as it would have without the interruption.
"""

from __future__ import annotations

import logging
import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from reasonflow.errors import InputError
from reasonflow.optimizers.topology.neighbours import drawn, neighbours
from reasonflow.optimizers.topology.space import Interval, Options, Settings, Space, spell
from reasonflow.optimizers.topology.surrogate import Surrogate

if TYPE_CHECKING:
    import optuna

_STARTUP = 6
"""Trials drawn evenly before the model of good and bad settings has anything to say (Optuna's own default of 10 is
half of what most budgets pay for)."""
_ASKED = 32
"""Proposals that may be known or too dear before the rest of a small space is simply listed."""
_CHOSEN_AMONG = 4
"""Proposals that one is drawn from, the cheaper the likelier: a call spent on a dear setting is not spent on several
cheap ones."""
_RANKED = 512
"""Settings of a small space: all are candidates, and their costs are looked at for the anchors. Of a larger one half as
many are drawn for that."""
_ANCHORS = (0.0, 1 / 3)
"""Places in the order of costs, of settings that are tried before the search has found anything: a front has a cheap
end, and a middle."""
_LISTED = 4096
"""Settings of a space that is listed."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a setting was found to be worth."""

    accuracy: float
    sequential: float
    """Tokens along the longest path of a run, on average."""
    total: float
    """Input and output tokens of a run, on average."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting to try."""

    number: int
    """From 0, in the order in which they were asked for."""
    settings: Settings


@dataclass(frozen=True, slots=True)
class Told:
    """A setting that was tried. None for one that the program refuses."""

    trial: Trial
    values: Values | None


History = tuple[Told, ...]
Cost: TypeAlias = Callable[[Settings], float | None]


class TopologySearch:
    """It maximizes accuracy, and minimizes sequential and total tokens; those by their logarithm, since settings
    differ in them by factors.

    In a small space a model of what was tried says of all settings which promises to add most to the front: see
    `Surrogate`. In a large one Optuna's multi-objective TPE (Ozaki et al. 2022, "Multiobjective Tree-Structured Parzen
    Estimator", JAIR 73) and steps from what no other setting beats propose in turns.
    first: proposed before all others, in this order. Raises InputError without Optuna.
    """

    def __init__(self, space: Space, *, seed: int = 0, first: Sequence[Settings] = ()) -> None:
        self.space, self.seed, self.first = space, seed, tuple(first)
        _optuna()

    def ask(
        self, history: History, allowed: Callable[[Settings], bool], cost: Cost = lambda settings: 1.0
    ) -> Trial | None:
        """A setting that was not tried before; None where there is none that is allowed.

        allowed: says whether the budget has room for it. cost: of a run of it, above 0, known before it is tried; None:
        it cannot be run. A setting that cannot be run is proposed last.
        """
        number, tried = len(history), {spell(told.trial.settings) for told in history}

        def is_open(settings: Settings) -> bool:
            return spell(settings) not in tried and allowed(settings)

        for settings in self._first(history, cost):
            if is_open(settings):
                return Trial(number, settings)
        if self.space.size <= _RANKED:
            chosen = self._promising(filter(is_open, self._listed(number)), history, cost)
        else:
            chosen = self._cheaply(filter(is_open, self._proposed(history)), cost, number)
        if chosen is None:
            chosen = min(filter(is_open, self._listed(number)), key=lambda one: cost(one) is None, default=None)
        return None if chosen is None else Trial(number, chosen)

    def _first(self, history: History, cost: Cost) -> Iterator[Settings]:
        """What is tried before anything is known, until that is so."""
        yield from self.first
        if sum(told.values is not None for told in history) < len(self.first) + len(_ANCHORS):
            yield from self._anchors(cost)

    def _anchors(self, cost: Cost) -> list[Settings]:
        every = self.space.all() if self.space.size <= _RANKED else self.sample(_RANKED // 2)
        known = [(found, settings) for settings in every if (found := cost(settings)) is not None]
        ranked = [settings for _, settings in sorted(known, key=lambda pair: pair[0])]
        if len({found for found, _ in known}) < len(_ANCHORS) + 1:
            return []  # costs that hardly differ say nothing of where to begin
        return [ranked[int(place * len(ranked))] for place in _ANCHORS]

    def _promising(self, candidates: Iterable[Settings], history: History, cost: Cost) -> Settings | None:
        """The candidate that a model of all that was tried expects most of; before that, the first one."""
        priced = [(settings, found) for settings in candidates if (found := cost(settings)) is not None]
        known = [(told.trial.settings, _losses(told.values)) for told in history if told.values is not None]
        if not known or not priced:
            return priced[0][0] if priced else None
        model = Surrogate(self.space, lambda settings: cost(settings) or 1.0)
        return model.best([settings for settings, _ in priced], known, self._number("guess", len(history)))

    def _cheaply(self, proposals: Iterable[Settings], cost: Cost, number: int) -> Settings | None:
        """One of the first few different ones, drawn with a chance inverse to its cost."""
        few, weights = dict[str, Settings](), list[float]()
        for settings in proposals:
            price = cost(settings)
            if price is not None and spell(settings) not in few:
                few[spell(settings)] = settings
                weights.append(1 / price)
            if len(few) == _CHOSEN_AMONG:
                break
        chosen: Settings | None = None
        if few:
            [chosen] = random.Random(self._number("choose", number)).choices(list(few.values()), weights)
        return chosen

    def sample(self, count: int) -> list[Settings]:
        """So many settings of a large space, drawn evenly."""
        draw = random.Random(self._number("sample"))
        return [{dimension.name: drawn(dimension, draw) for dimension in self.space.dimensions} for _ in range(count)]

    def tell(self, history: History, told: Told) -> History:
        """The history with one more trial; telling twice equals telling once. Trials may come in any order."""
        known = {told.trial.number: told} | {before.trial.number: before for before in history}
        return tuple(known[number] for number in sorted(known))

    def _proposed(self, history: History) -> Iterator[Settings]:
        """By the model and by neighbourhood, in turns."""
        unbeaten = _unbeaten(history)
        if len(history) % 2 and unbeaten:
            draw = random.Random(self._number("step", len(history)))
            return islice(neighbours(unbeaten, self.space, draw), _ASKED)
        return self._by_model(history)

    def _by_model(self, history: History) -> Iterator[Settings]:
        optuna = _optuna()
        with _quiet(optuna):
            sampler = optuna.samplers.TPESampler(
                seed=self._number("propose", len(history)), n_startup_trials=_STARTUP, multivariate=True
            )
            study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
            distributions = {dimension.name: _distribution(optuna, dimension) for dimension in self.space.dimensions}
            for told in history:
                study.add_trial(self._frozen(optuna, told, distributions))
        for _ in range(_ASKED):
            with _quiet(optuna):
                asked = study.ask(distributions)
            yield {dimension.name: _value(dimension, asked.params) for dimension in self.space.dimensions}

    def _frozen(self, optuna: Any, told: Told, distributions: dict[str, Any]) -> optuna.trial.FrozenTrial:
        create: Callable[..., optuna.trial.FrozenTrial] = optuna.trial.create_trial
        params = {
            dimension.name: _index(dimension, told.trial.settings[dimension.name])
            for dimension in self.space.dimensions
        }
        if told.values is None:
            state = optuna.trial.TrialState.FAIL
            return create(state=state, params=params, distributions=distributions)
        accuracy, sequential, total = _losses(told.values)
        values = [-accuracy, sequential, total]
        return create(params=params, distributions=distributions, values=values)

    def _listed(self, number: int) -> list[Settings]:
        """A small space in a random order; nothing of a large one."""
        if self.space.size > _LISTED:
            return []
        every = list(self.space.all())
        random.Random(self._number("list", number)).shuffle(every)
        return every

    def _number(self, *words: object) -> int:
        text = "/".join(map(str, (self.seed, *words)))
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def _losses(found: Values) -> tuple[float, float, float]:
    return -found.accuracy, math.log2(1 + found.sequential), math.log2(1 + found.total)


def _unbeaten(history: History) -> list[Settings]:
    """Settings that none of the others beats in all that is sought, the earlier one of two that are equal."""
    known = [(_losses(told.values), told.trial.settings) for told in history if told.values is not None]
    return [
        settings
        for place, (mine, settings) in enumerate(known)
        if not any(
            all(a <= b for a, b in zip(theirs, mine, strict=True)) and (theirs != mine or other < place)
            for other, (theirs, _) in enumerate(known)
            if other != place
        )
    ]


def _distribution(optuna: Any, dimension: Options | Interval) -> Any:
    if isinstance(dimension, Options):  # by their places: Optuna's categories are numbers and words only
        return optuna.distributions.CategoricalDistribution(tuple(range(len(dimension.values))))
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _value(dimension: Options | Interval, params: dict[str, Any]) -> Any:
    found = params[dimension.name]
    return dimension.values[found] if isinstance(dimension, Options) else found


def _index(dimension: Options | Interval, value: Any) -> Any:
    return dimension.values.index(value) if isinstance(dimension, Options) else value


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "a search over topologies needs the package optuna",
            why=str(error),
            fix='pip install "reasonflow[compile]"',
        ) from error
    return optuna


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without its line about every study, and without its warning that the multivariate sampler may change."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", getattr(optuna.exceptions, "ExperimentalWarning", UserWarning))
            yield
    finally:
        logger.setLevel(before)
