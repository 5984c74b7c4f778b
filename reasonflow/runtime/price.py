"""What a model's tokens, or an hour of its engine, cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonflow.errors import InputError

if TYPE_CHECKING:
    from reasonflow.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars. An engine has either kind: hosted models cost by the token, a machine of one's own by the hour."""

    input_token: float = 0.0
    output_token: float = 0.0
    hour: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """What these tokens cost; hours are counted by whoever holds the clock."""
        return input_tokens * self.input_token + output_tokens * self.output_token


FREE_OF_CHARGE = Price()


@dataclass(frozen=True, slots=True)
class Prices:
    """Of the engines of one run."""

    known: Mapping[Runtime, Price]
    """Empty where nobody counts money."""

    def of(self, runtime: Runtime) -> Price:
        """Of one engine, also one that only a function of the run uses. Raises InputError where none is known."""
        if not self.known:
            return FREE_OF_CHARGE
        found = self.known.get(runtime)
        return price_of(runtime.backend.model) if found is None else found

    @property
    def hour(self) -> float:
        """Of all engines together."""
        return sum(price.hour for price in self.known.values())

    @property
    def dearest(self) -> Price:
        """At least what any of their tokens costs, for calls that are still to come."""
        prices = [FREE_OF_CHARGE, *self.known.values()]
        return Price(
            input_token=max(price.input_token for price in prices),
            output_token=max(price.output_token for price in prices),
        )


def price_of(model: str, dollars_per_hour: float | None = None) -> Price:
    """The price of a model: the hour where one is given, else LiteLLM's price map by the model's name.

    Raises InputError where neither is known: a budget in dollars could not be kept.
    """
    if dollars_per_hour is not None:
        return Price(hour=dollars_per_hour)
    entry = model_facts(model)
    if "input_cost_per_token" not in entry and "output_cost_per_token" not in entry:
        raise InputError(
            f"no price is known for {model!r}",
            why="a budget in dollars needs one, and LiteLLM's price map has none under this name",
            fix="give the price of an hour of the engine: rf.vllm(..., dollars_per_hour=2.5); a hosted model has to "
            "be named as LiteLLM names it",
        )
    return Price(
        input_token=float(entry.get("input_cost_per_token") or 0.0),
        output_token=float(entry.get("output_cost_per_token") or 0.0),
    )


def model_facts(model: str) -> Mapping[str, Any]:
    """What LiteLLM's map says of a model: prices, `max_input_tokens`, `max_output_tokens`; empty where it knows none.

    The map names most models without their provider: "openai/gpt-4o" is OpenAI's "gpt-4o".
    """
    known = _price_map()
    if model in known:
        return known[model]
    provider, _, name = model.partition("/")
    entry = known.get(name, {})
    return entry if entry.get("litellm_provider") == provider else {}


@lru_cache(maxsize=1)
def _price_map() -> dict[str, dict[str, Any]]:
    """LiteLLM's own copy of its map: importing the library takes seconds and asks the network for a newer one."""
    spec = find_spec("litellm")
    for root in spec.submodule_search_locations or () if spec else ():
        path = Path(root) / "model_prices_and_context_window_backup.json"
        if path.is_file():
            found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return {}
