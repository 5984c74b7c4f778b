"""Chosen tools beside relevant ones."""

from __future__ import annotations

import pytest

from reasonflow.evals.calls.tools import choose

RELEVANT = [["Word API", "Get Word"], ["Income", "ZIP code"]]


def test_they_are_a_set_of_names_without_case_and_spacing() -> None:
    found = choose(
        '[["income", "zip  Code"], {"tool": "Word API", "api": "get word"}, ["Income", "ZIP code"]]', RELEVANT
    )
    assert (found.equal, found.reason, found.f1) == (True, "", 1.0)


def test_precision_and_recall_are_counted_by_hand() -> None:
    found = choose('[["Income", "ZIP code"], ["Income", "Town"], ["x", "y"]]', RELEVANT)
    assert (found.precision, found.recall, found.f1) == (1 / 3, 1 / 2, 2 / 5)
    assert found.reason == "1 of 2 relevant tools among 3"
    none = choose("[]", RELEVANT)
    assert (none.equal, none.precision, none.recall, none.f1) == (False, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("text", ["Word API", '["Word API"]', '[["a", "b", "c"]]', '[{"tool": "a"}]', "[[1, 2]]"])
def test_other_text_chooses_nothing_and_says_so(text: str) -> None:
    found = choose(text, RELEVANT)
    assert (found.equal, found.f1) == (False, 0.0)
    assert found.reason.startswith("no ")
