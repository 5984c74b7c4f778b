"""The part `scaling`: who wrote what, counted by hand, over a draft that errs and a target that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import dspy
import pytest

from reasonflow.evals.suites import spec_scaling
from reasonflow.evals.suites.scaled import Scaled, _times, scaled
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.runtime.record import SCORE, Span
from tests.evals.suites.speculating import made, made_with, never

LIMIT = 5
TESTED = [item(parse_source(spec_scaling.TASK), index) for index in range(LIMIT)]
HELD = [item(parse_source(spec_scaling.OTHERS), index) for index in range(60)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CALIBRATION": len(HELD), "LEAST": 20, "N": 3, "CHUNK": 24}.items():
        monkeypatch.setattr(spec_scaling, name, value)


class Writer:
    """Goes on with a solution where its text stands; wrong of the problems whose place is in `wrong`."""

    def __init__(self, *wrong: int) -> None:
        self.wrong, self.asked = wrong, 0
        self.known = [(found, place if found in TESTED else None) for place, found in enumerate([*TESTED, *HELD])]

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.asked += 1
        assert spec_scaling.INSTRUCTION in prompt
        found, place = next(held for held in self.known if held[0].text in prompt)
        solution = found.solution(Random(found.address))
        if place in self.wrong:
            solution = solution.replace(f"{{{found.answer}}}", f"{{{found.answer + 1}}}")
        written = prompt.partition(found.text)[2].lstrip("\n")
        return solution[len(written) :] if solution.startswith(written) else solution


def made_of(out: Path, draft: Any, target: Any) -> Any:
    return made("scaling", out, {"embedded-draft": draft, "m": target}, LIMIT)


def test_a_draft_that_is_right_spares_the_target_most_of_its_tokens(tmp_path: Path) -> None:
    found = made_of(tmp_path, Writer(), Writer())
    figures = found.figures
    assert figures["sampling_coverage"] == figures["sampling_majority"] == 1.0
    assert figures["scaling_coverage"] == figures["scaling_majority"] == 1.0
    assert figures["scaling_minus_sampling_coverage"] == 0.0
    assert 0.3 < (figures["acceptance"] or 0) < 0.9
    assert (figures["target_tokens_ratio"] or 0) > 1.2
    assert (figures["scored_tokens"] or 0) > (figures["target_tokens"] or 0) > 0
    assert figures["idle_share"] is not None
    turns = found.breakdowns[0].rows
    assert [row["turn"] for row in turns] == list(range(1, len(turns) + 1))
    assert turns[0]["calibrated on"] == len(HELD)
    assert turns[0]["chunks"] == 3 * LIMIT


def test_what_the_draft_gets_wrong_is_in_the_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_scaling, "TAKEOVER", 0.001)  # all pass
    figures = made_of(tmp_path, Writer(0, 3), Writer()).figures
    assert figures["scaling_majority"] == pytest.approx(1 - 2 / LIMIT)
    assert figures["scaling_minus_sampling_coverage"] == pytest.approx(-2 / LIMIT)
    assert figures["acceptance"] == 1.0
    assert figures["target_tokens"] == 0.0
    assert figures["target_tokens_ratio"] is None


def test_it_goes_on_where_it_was_stopped_and_repeats_nothing(tmp_path: Path) -> None:
    first = made_of(tmp_path, Writer(), Writer())
    assert made_of(tmp_path, never, never).figures == first.figures
    (tmp_path / "scaling" / "sampling" / "samples.jsonl").unlink()
    draft, target = Writer(), Writer()
    assert made_of(tmp_path, draft, target).figures == first.figures
    assert (draft.asked, target.asked) == (0, 3 * LIMIT)


def test_gates_are_calibrated_on_problems_that_are_not_tested() -> None:
    assert not {found.text for found in TESTED} & {found.text for found in HELD}


def span(site: str, sample: int, start: float, seconds: float, tokens: int = 1) -> Span:
    return Span(
        node=f"when.then/fork/{site}", indices=(sample,), input_tokens=1, cached_tokens=0, output_tokens=tokens,
        started_s=start, queued_s=0.0, total_s=seconds, finish_reason="stop", outcome="done",
    )  # fmt: skip


def scoring(sample: int, start: float, seconds: float, tokens: int = 1) -> Span:
    return replace(span("seen", sample, start, seconds, 0), input_tokens=tokens, inner=SCORE)


def test_idle_is_what_is_neither_a_call_nor_a_scoring() -> None:
    spans = [
        span("draft", 0, 0.0, 1.0), scoring(0, 1.0, 0.3), span("loop/draft#2", 0, 1.5, 1.0), scoring(0, 2.5, 0.4),
        span("draft", 1, 0.0, 1.0), scoring(1, 1.0, 0.5), span("target", 1, 3.0, 2.0),  # it waits for a sibling
    ]  # fmt: skip
    own, idle = _times(spans)
    assert own == pytest.approx(2.5 + 0.4 + 5.0)
    assert idle == pytest.approx(0.2 + 1.5)


class Told:
    """A prediction with a record."""

    answers = ["4", None]

    def __init__(self, **span_options: Any) -> None:
        self.run: Any = type("Run", (), {})()
        spans = [span("draft", 0, 0.0, 1.0, 7), span("target", 0, 1.0, 1.0, 5), span("draft", 1, 0.0, 1.0, 2)]
        spans += [scoring(0, 1.0, 0.01, 30), scoring(1, 1.0, 0.02, 12)]
        self.run.spans = [replace(each, **span_options) for each in spans]
        self.run.notes = [
            "when.then/fork/seen[0]: gate: not accepted, 2.3 against 2, turn 1",
            "when.then/fork/when#2.then/loop/seen[1][0]: gate: accepted, 1.9 against 2, turn 2",
            "fork/seen[1]: something else",
        ]


def test_tokens_are_told_apart_by_who_wrote_them() -> None:
    found = scaled(Told())
    assert (found.draft_tokens, found.target_tokens, found.scored_tokens) == (9, 5, 42)
    assert found.chunks == {1: (1, 0), 2: (1, 1)}
    assert found.answers == ("4", None)
    assert isinstance(found, Scaled)


def test_a_run_that_found_calls_of_an_earlier_session_has_no_times() -> None:
    found = scaled(Told(replayed=True))
    assert (found.own_s, found.idle_s) == (None, None)
    assert found.draft_tokens == 9


@pytest.mark.engine
def test_on_the_real_engine_tokens_and_times_are_read_from_its_own_record(
    embedded_lm: dspy.LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is its own draft here: a second engine would take the time of a start."""

    async def leave_open(lm: dspy.LM) -> None:
        """Other tests go on with this engine."""

    monkeypatch.setattr(spec_scaling, "close", leave_open)
    monkeypatch.setattr(spec_scaling, "CALIBRATION", 30)
    found = made_with("scaling", tmp_path, lambda _: embedded_lm.copy(), 3)
    figures = found.figures
    names = ("target_tokens_ratio", "sampling_coverage", "scaling_majority", "acceptance", "idle_share")
    assert all(figures[name] is not None for name in names)
    assert 0 < (figures["acceptance"] or 0) < 1
    assert 0 <= (figures["idle_share"] or 0) < 0.5
    assert (figures["draft_tokens"] or 0) > 0
    assert (figures["scored_tokens"] or 0) > (figures["draft_tokens"] or 0)
