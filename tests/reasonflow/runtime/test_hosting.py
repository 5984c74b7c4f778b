"""A host starts runs in place of their callers; a ledger that remembers is not charged for recorded calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.protocol import Completion
from reasonflow.language.program import Traced
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ambient import ambient, surrounded
from reasonflow.runtime.ledger import Amount, Ledger


class Counting:
    """Notes what it is asked to start, and starts it without a host."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def run(self, traced: Traced, inputs: Mapping[str, Any], start: Callable[[], Any]) -> Any:
        self.asked.append((traced.name, dict(inputs)))
        with surrounded(host=None):
            return start()


class Memory:
    """A journal."""

    def __init__(self) -> None:
        self.kept: dict[str, Completion] = {}

    def find(self, key: str) -> Completion | None:
        return self.kept.get(key)

    def keep(self, key: str, completion: Completion) -> None:
        self.kept[key] = completion


def test_a_host_starts_every_run_however_it_is_called() -> None:
    host, program = Counting(), rf.SelfConsistency(n=2)
    with dspy.context(lm=rf.scripted(r"\boxed{4}")), surrounded(host=host):
        assert program(problem="2 + 2").answer == "4"

        async def later() -> str:
            found = await program.acall(problem="1 + 3")
            return str(found.answer)

        assert anyio.run(later) == "4"
    assert host.asked == [
        ("SelfConsistency", {"problem": "2 + 2"}),
        ("SelfConsistency", {"problem": "1 + 3"}),
    ]


@pytest.mark.parametrize("remembers", [True, False])
def test_recorded_calls_draw_on_a_ledger_unless_it_remembers_them(remembers: bool) -> None:
    journal, program = Memory(), rf.SelfConsistency(n=3)
    with dspy.context(lm=rf.scripted(r"\boxed{4}")):
        with surrounded(journal=journal):
            program(problem="2 + 2")
        above = Ledger(Budget(calls=5), remembers=remembers)
        own = Ledger(Budget(), above)
        with surrounded(journal=journal, ledger=own):
            program(problem="2 + 2")
    assert own.spent.calls == 3
    assert above.spent.calls == (0 if remembers else 3)


def test_recalling_needs_room_in_the_ledgers_that_do_not_remember() -> None:
    above = Ledger(Budget(calls=10), remembers=True)
    above.spent = Amount(calls=10)
    own = Ledger(Budget(calls=4), above)
    assert own.recall(Amount(calls=3))
    assert not own.recall(Amount(calls=3))
    assert own.reserve(Amount(calls=1)) is None, "what is new has no room above"
    assert (own.spent.calls, above.spent.calls) == (3, 10)


def test_no_host_is_the_rule() -> None:
    assert ambient().host is None
