"""Room in a budget for one call: waited for, made by writing and reading less, by fewer branches, or not to be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reasonflow.backends.protocol import Prompt
from reasonflow.errors import BudgetExceeded
from reasonflow.runtime.allotment import Allotment, Ask
from reasonflow.runtime.fitting import Fitting
from reasonflow.runtime.ledger import Amount, Hold
from reasonflow.runtime.price import Price
from reasonflow.runtime.scope import Scope

_WORTH_WAITING = 0.5
"""A call waits for settlements where it would get less than this share of what was planned. Forecasts are a little off
all the time: waiting for every token would line the branches up one behind the other."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a call may do."""

    prompt: Prompt
    cut: str
    """What had to be cut from the prompt; empty where nothing had to."""
    width: int
    """Samples."""
    cap: int | None = None
    """Output tokens of each sample; None: what its site and the engine say."""
    hold: Hold | None = None
    """To be settled when the samples have ended; None where no budget limits the call."""
    squeezed: bool = False
    """The budget took samples from it, or a part of its prompt."""


async def grant(
    name: str,
    ask: Ask,
    scope: Scope,
    allot: Callable[[], Allotment],
    fitting: Fitting,
    limit: Callable[[Prompt], int | None],
    price: Price,
) -> Granted:
    """Reserve what the call may take. In this order: wait for settlements of calls under way, shrink the cap down to
    its floor, leave branches out, give up.

    limit: output tokens of a sample after a prompt, whatever the budget. Raises BudgetExceeded where even the fewest
    branches do not fit, and where the scope is stopped meanwhile.
    """
    ledger = scope.ledger
    assert ledger is not None, "only a budget grants"
    with scope.call():
        while scope.stopped is None:
            allotment = allot()
            if ledger.waits_for_settlements() and _worth_waiting(allotment, ask, scope):
                await ledger.settlement()
                continue
            if not allotment.width:
                raise exceeded(name, scope)
            prompt, cut = fitting.render(fitting.tokens(allotment.level.tokens))
            tokens = len(prompt.tokens) if prompt.tokens is not None else fitting.whole_tokens
            cap = min(allotment.cap, limit(prompt) or allotment.cap)
            if tokens + cap > scope.way_room(ask.before):
                raise exceeded(name, scope)  # a cut prompt came out longer than it looked
            amount = Amount(
                total=(tokens + cap) * allotment.width,
                calls=allotment.width,
                dollars=price.of(tokens, cap) * allotment.width,
            )
            hold = ledger.reserve(amount)
            if hold is not None:
                squeezed = allotment.width < ask.width or prompt != fitting.render()[0]
                return Granted(prompt, cut, allotment.width, cap, hold, squeezed)
            if not ledger.waits_for_settlements():
                raise exceeded(name, scope)  # here too
            await ledger.settlement()
    scope.check()
    raise AssertionError("a call waited for a scope that nobody had stopped")


def _worth_waiting(allotment: Allotment, ask: Ask, scope: Scope) -> bool:
    if not allotment.width or not allotment.spendable:
        return allotment.spendable
    if allotment.complete or allotment.cap == ask.own_cap or scope.planned is None:
        return False
    level = allotment.level
    return level.share < scope.planned.share or level.tokens < _WORTH_WAITING * scope.planned.tokens


def exceeded(name: str, scope: Scope) -> BudgetExceeded:
    """The error of a call that a budget has no room for."""
    assert scope.ledger is not None, "only a budget is exceeded"
    return BudgetExceeded(
        f"the budget leaves no room for {name}",
        why=f"it is {scope.ledger}, and even the shortest useful call and what must follow it do not fit any more",
        fix="give more, lower the program's widths, or mark partial results with rf.answer(...)",
    )
