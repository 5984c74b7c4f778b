"""The part `gate` on a twin whose errors are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.tooling import needs_tools
from reasonflow.evals.suites import labelled, spec_gate
from reasonflow.evals.tasks.problems import item_at
from tests.evals.suites.speculating import made, never

SAMPLES = 240


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SAMPLES": SAMPLES, "CALIBRATION": 120, "SPLITS": 30, "DRAWN": 400}
    for name, value in sizes.items():
        monkeypatch.setattr(spec_gate, name, value)


class Twin:
    """Wrong, and unsure, of every fourth problem; the others it answers right."""

    def __init__(self, sure: float = 0.99, unsure: float = 0.5) -> None:
        self.chances = {True: sure, False: unsure}
        self.by_text = {found.inputs["problem"]: (place, found.answer) for place, found in enumerate(known())}
        self.asked = 0

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked += 1
        place, answer = next(held for text, held in self.by_text.items() if text in prompt)
        right = place % 4 != 0
        sure = self.chances[right]
        return ({answer if right else f"{answer}1": sure, "?": (1 - sure) / 2},)


def known() -> list[Any]:
    return spec_gate.free(SAMPLES)


def test_its_problems_take_no_tool_and_are_no_others() -> None:
    problems = known()
    assert len({problem.id for problem in problems}) == SAMPLES
    assert not any(needs_tools(item_at(problem.id)) for problem in problems)
    assert all("seed=3" in problem.id for problem in problems)


def test_a_score_that_tells_right_from_wrong_lets_all_right_ones_pass(tmp_path: Path) -> None:
    found = made("gate", tmp_path, {"embedded-draft": Twin()}, 5)
    figures = found.figures
    assert figures["gate_right_share"] == 0.75
    assert figures["gate_scored_share"] == 1.0
    assert figures["violation_share"] == figures["violation_share_raw"] == 0.0
    # Hindsight takes errors in, too: 0.75 right ones of 0.75 / 0.9 at most.
    assert figures["acceptance_over_hindsight"] == pytest.approx(1.0, abs=0.02)
    assert 0 <= (figures["population_acceptance_over_hindsight"] or 0) <= 1
    assert (figures["population_violation_share_true"] or 0) <= 0.15
    assert all(goal.met(figures) for goal in found.goals)


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made("gate", tmp_path / "whole", {"embedded-draft": Twin()}, 5)
    row_of = labelled._row

    def stopped(sample: Any) -> Any:
        if twin.asked > labelled.BATCH:
            raise KeyboardInterrupt
        return row_of(sample)

    twin = Twin()
    monkeypatch.setattr(labelled, "_row", stopped)
    with pytest.raises(KeyboardInterrupt):
        made("gate", tmp_path / "cut", {"embedded-draft": twin}, 5)
    monkeypatch.setattr(labelled, "_row", row_of)
    again = Twin()
    assert made("gate", tmp_path / "cut", {"embedded-draft": again}, 5).figures == whole.figures
    assert again.asked == SAMPLES - labelled.BATCH
    assert made("gate", tmp_path / "cut", {"embedded-draft": never}, 5).figures == whole.figures


def test_samples_of_another_twin_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("gate", tmp_path, {"embedded-draft": Twin()}, 5)
    monkeypatch.setattr(spec_gate, "model_behind", lambda _: "another")
    with pytest.raises(InputError, match="holds samples of another evaluation"):
        made("gate", tmp_path, {"embedded-draft": Twin()}, 5)


def test_without_scores_there_are_no_figures_but_a_reason(tmp_path: Path) -> None:
    found = made("gate", tmp_path, {"embedded-draft": " "}, 5)
    figures = found.figures
    assert figures["violation_share"] is figures["violation_share_raw"] is None
    assert figures["acceptance_over_hindsight"] is None
    assert figures["gate_scored_share"] == 0.0
    assert "0 scored samples cannot show" in found.rows[0].setting
    assert found.goals[0].met(figures) is None


def test_a_twin_that_is_never_right_is_told_from_one_that_cannot_be_counted(tmp_path: Path) -> None:
    found = made("gate", tmp_path, {"embedded-draft": ({"none": 0.9, "?": 0.1},)}, 5)
    assert found.figures["violation_share"] == 0.0
    assert found.figures["acceptance_over_hindsight"] is None
    assert [row.setting for row in found.rows[:2]] == [
        f"alpha 0.1, {SAMPLES} samples; nothing passes in 100.0% of the splits",
        "hindsight accepts nothing in any split",
    ]
