"""The order of a prompt's parts. What equal prompts have in front, an engine with a prefix cache computes once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from reasonflow.errors import UnknownName

Order: TypeAlias = Literal["auto", "shared", "dspy"]
"""shared: first what several calls read, each value under one heading for all of them; then the call site's own: its
instructions, its demos, what only it reads. dspy: as DSPy's adapters have it, instructions and demos first. auto:
shared where that saves enough: values of at least `render.WORTH_SHARING` characters stand in front, and the site's
demos before them where these are longer; where there are none, as DSPy has it. Measured: with instructions behind
values that save nothing, chain of thought computed a quarter more of its prompts and was 1.6 points worse (4.7 worse to
1.8 better; Qwen2.5-Coder-1.5B, 1,019 problems of GSM8K), and four of five programs on the built-in model computed 2 to
14 % more and were 1 to 2.5 points worse."""

ORDERS: tuple[str, ...] = get_args(Order)


@dataclass(frozen=True, slots=True)
class Lead:
    """An input that other calls read too."""

    field: str
    heading: str
    """The same in the prompts of all its readers, whatever each calls the field."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one call's prompt."""

    order: Order = "auto"
    lead: tuple[Lead, ...] = ()
    """What stands in front of all that is the site's own, in this order. Found by `share_prefixes`."""
    siblings: bool = False
    """Calls of the same site run beside it whose other inputs differ: these come last, behind the instructions."""


def check_order(value: Any, whose: str) -> Order:
    """`value` as an order. Raises UnknownName."""
    if value not in ORDERS:
        raise UnknownName.among(f"layout of {whose}", str(value), ORDERS)
    order: Order = value
    return order
