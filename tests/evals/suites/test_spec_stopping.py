"""The part `stopping`, on samples of which a third lose their way and say so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reasonflow.errors import EngineDead
from reasonflow.evals.suites import spec_stopping
from reasonflow.evals.tasks.problems import item, parse_source
from tests.evals.suites.speculating import made, never

LIMIT = 4
TESTED = [item(parse_source(f"graphmath:{spec_stopping.TASK}"), index) for index in range(LIMIT)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"N": 18, "WARM_UP": 6, "WINDOW": 8, "KEEP": 0.5, "SIDE_BY_SIDE": 3}
    for name, value in sizes.items():
        monkeypatch.setattr(spec_stopping, name, value)


def said(text: str, chance: float = 0.98) -> tuple[Any, ...]:
    """A text whose every token is that sure."""
    other = (1 - chance) / 2
    parts = re.findall(r"\s?\S{1,4}|\s", text)
    return tuple({token: chance, f"{token}?": other, f"{token}!": other} for token in parts)


class Model:
    """A third of its samples is lost, and wrong; more than half of the first problem's, so that its majority is."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked += 1
        place = next(place for place, found in enumerate(TESTED) if found.text in prompt)
        lost = (seed or 0) % 3 != 0 if place == 0 else (seed or 0) % 3 == 0
        way = said("it may be so, or so, or not " * 5, 0.4) if lost else said("step by step " * 9)
        return (*said("We begin so: "), *way, *said(rf"\boxed{{{TESTED[place].answer + lost}}}"))


def made_of(out: Path, model: Any) -> Any:
    return made("stopping", out, {"m": model}, LIMIT, top_logprobs=20)


def test_lost_samples_are_spared_and_votes_stay(tmp_path: Path) -> None:
    model = Model()
    found = made_of(tmp_path, model)
    figures = found.figures
    assert figures["whole_accuracy"] == figures["stopping_accuracy"] == 1.0
    assert figures["stopping_minus_whole_noise"] == 0.0
    assert figures["majority_accuracy"] == 0.75
    assert 0.1 < (figures["tokens_saved_share"] or 0) < 0.5
    assert 0.2 < (figures["stopped_share"] or 0) < 0.6
    assert (figures["stopping_s"] or 0) > 0
    assert (figures["whole_s"] or 0) > 0
    assert model.asked == 2 * 18 * LIMIT + 18  # and a warm-up
    assert "2 rounds of each" in found.rows[-1].setting
    saved = found.rows[0].result
    assert saved is not None
    assert saved.low <= saved.value <= saved.high


def test_it_goes_on_where_it_was_stopped_round_by_round(tmp_path: Path) -> None:
    whole = made_of(tmp_path / "whole", Model()).figures
    cut = Model()

    def dies(prompt: str, seed: int | None, index: int) -> Any:
        if cut.asked >= 18 + 3 * 18 * 2 + 5:  # the warm-up, the first round of both arms, and a bit of the second
            return EngineDead("it died")
        return cut(prompt, seed, index)

    with pytest.raises(EngineDead, match="it died"):
        made_of(tmp_path / "cut", dies)
    again = Model()
    figures = made_of(tmp_path / "cut", again).figures
    assert again.asked == 18 + 2 * 18  # the warm-up again, and the second round
    seconds = {"stopping_s", "whole_s", "stopping_wall_ratio"}
    assert {name: value for name, value in figures.items() if name not in seconds} == {
        name: value for name, value in whole.items() if name not in seconds
    }
    assert made_of(tmp_path / "cut", never).figures == figures


def test_a_run_that_fails_is_wrong_and_in_no_ratio(tmp_path: Path) -> None:
    model = Model()

    def fails(prompt: str, seed: int | None, index: int) -> Any:
        return "no box" if TESTED[1].text in prompt else model(prompt, seed, index)

    found = made_of(tmp_path, fails)
    assert found.figures["whole_accuracy"] == 0.75
    assert found.figures["majority_accuracy"] == 0.5
    assert found.rows[0].problems == LIMIT - 1
