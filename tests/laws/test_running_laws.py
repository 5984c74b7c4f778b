"""Laws of running: bounds, budgets, endings, sums. Over random programs on random engines, one law a test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest

from tests.laws.random_runs import Case, broken, run_case

LAWS = ("endings", "budgets", "bounds", "requests", "tasks", "sums")
EXAMPLES = 250
MANY = 10_000


def sweep(seeds: Iterable[int], kinds: Counter[str]) -> dict[str, list[str]]:
    """What broke each law, over the cases of these seeds. kinds: counts how their runs ended."""
    found: dict[str, list[str]] = defaultdict(list)
    for seed in seeds:
        case = run_case(seed)
        kinds.update(_ends(case))
        for law, text in broken(case):
            found[law].append(f"case {seed}: {text}")
    return found


def _ends(case: Case) -> list[str]:
    ends = [
        type(end.error).__name__ if end.error is not None else "complete" if end.run and end.run.complete else "cut"
        for end in case.outcomes
    ]
    return [*ends, *["ledgers"] * len(case.seen.ledgers)]


@pytest.fixture(scope="module")
def quick() -> dict[str, list[str]]:
    """The cases of the normal suite."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reasonflow.runtime.faults.BACKOFF_S", 0.001)
        return sweep(range(EXAMPLES), Counter())


@pytest.mark.parametrize("law", LAWS)
def test_no_random_run_breaks_the_law_of(law: str, quick: dict[str, list[str]]) -> None:
    assert quick[law] == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_budget_is_overspent_in_ten_thousand_random_plans(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reasonflow.runtime.faults.BACKOFF_S", 0.001)
    kinds: Counter[str] = Counter()
    found = sweep(range(MANY), kinds)
    with capsys.disabled():
        print(f"\n{MANY:,} random cases, {kinds.pop('ledgers'):,} ledgers; runs: {dict(kinds.most_common())}")
        print("; ".join(f"{law}: {len(found[law])} broken" for law in LAWS))
    assert {law: texts[:5] for law, texts in found.items() if texts} == {}
