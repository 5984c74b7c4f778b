"""What a model's tokens, or an hour of its engine, cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reasonflow.errors import InputError


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


def price_of(model: str, dollars_per_hour: float | None = None) -> Price:
    """The price of a model: the hour where one is given, else LiteLLM's price map by the model's name.

    Raises InputError where neither is known: a budget in dollars could not be kept.
    """
    if dollars_per_hour is not None:
        return Price(hour=dollars_per_hour)
    entry = _price_map().get(model) or {}
    if "input_cost_per_token" not in entry and "output_cost_per_token" not in entry:
        raise InputError(
            f"no price is known for {model!r}",
            why="a budget in dollars needs one, and LiteLLM's price map has none under this name",
            fix="give the price of an hour of the engine: rf.vllm(..., dollars_per_hour=2.5)",
        )
    return Price(
        input_token=float(entry.get("input_cost_per_token") or 0.0),
        output_token=float(entry.get("output_cost_per_token") or 0.0),
    )


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
