"""Splits of labelled scores: counted by hand, and a gate that breaks its promise is told from one that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

import reasonflow as rf
from reasonflow.cli.bench import app
from reasonflow.errors import InputError
from reasonflow.evals.performance import gate_splits
from reasonflow.evals.performance.gate_picture import draw
from reasonflow.evals.performance.gate_samples import Population, read_samples
from reasonflow.evals.performance.gate_splits import AtAlpha, Split, measure_splits
from reasonflow.optimizers.gates import Sample

POPULATION = Population(wrong=0.3, apart=1.5)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def only(samples: Sequence[Sample], **options: Any) -> AtAlpha:
    """At alpha alone."""
    return measure_splits(samples, alphas=(), **{"splits": 1, **options}).asked


def test_the_populations_risk_is_that_of_many_draws() -> None:
    for threshold in (-1.0, 0.5, 1.4):
        passing = [right for score, right in POPULATION.draw(40_000, Random(5)) if score >= threshold]
        assert passing.count(False) / len(passing) == pytest.approx(POPULATION.risk(threshold), abs=0.01)
    assert Population(wrong=0.2, apart=0).risk(3.0) == pytest.approx(0.2)


def test_a_calibrated_gate_keeps_its_promise_by_every_count() -> None:
    asked = only(POPULATION, drawn=2_000, splits=100, calibration=800)
    assert asked.violation_share <= 0.13
    assert asked.violation_share_beyond_chance <= 0.13
    assert asked.violation_share_of_population is not None
    assert asked.violation_share_of_population <= 0.1
    assert asked.acceptance_over_hindsight is not None
    assert 0.6 <= asked.acceptance_over_hindsight <= 1
    assert asked.risk is not None
    assert 0 < asked.risk.low <= asked.risk.middle <= asked.risk.high < 0.13


@pytest.mark.parametrize("tested", [100, 1_200])
def test_a_gate_that_only_looks_at_its_calibration_set_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tested: int
) -> None:
    """The loosest threshold whose errors on the set are at most alpha errs more on others in half of the splits."""

    def naive(gate: rf.Gate, samples: Sequence[Sample], *, alpha: float, delta: float) -> None:
        best, wrong = 0, 0
        ordered = sorted(samples, reverse=True)
        for count, sample in enumerate(ordered, 1):
            wrong += not sample.right
            best = count if wrong <= alpha * count else best
        gate.threshold = ordered[best - 1].score

    monkeypatch.setattr(gate_splits, "calibrate", naive)
    asked = only(POPULATION, drawn=200 + tested, splits=100, calibration=200)
    assert asked.violation_share > 0.3
    assert (asked.violation_share_of_population or 0) > 0.3
    # A small test part shows fewer of them for certain.
    assert (asked.violation_share_beyond_chance > 0.13) == (tested > 100)


def test_the_best_threshold_in_hindsight_takes_equal_scores_together() -> None:
    held = [Sample(9.0, True)] * 100
    test = [Sample(3.0, True)] * 8 + [Sample(2.0, True)] + [Sample(2.0, False)] * 2 + [Sample(math.nan, True)]
    counted = gate_splits._Test(test, higher=True).split(2.5, 0.1, None)
    assert counted == Split(accepted=8, errors=0, hindsight=8, population_risk=None)
    tied = [Sample(3.0, True)] * 10 + [Sample(2.0, False)] * 3
    assert gate_splits._Test(tied, higher=True).split(None, 0.1, None).hindsight == 10  # 11 would split the twos
    assert gate_splits._Test(test, higher=True).split(2.0, 0.2, None) == Split(11, 2, 11, None)
    assert gate_splits._Test(test, higher=False).split(2.0, 0.5, None) == Split(3, 2, 11, None)
    assert gate_splits._Test(test, higher=True).split(None, 0.2, 0.0) == Split(0, 0, 11, 0.0)
    assert only(held + test, calibration=100).nothing_passes_share == 0.0


def test_more_errors_than_alpha_are_told_from_more_than_chance() -> None:
    assert Split(10, 1, 10, None).violates(0.1) is False
    assert Split(10, 2, 10, None).violates(0.1)
    assert not Split(10, 2, 10, None).violates_beyond_chance(0.1)  # a chance of 26 %
    assert Split(10, 4, 10, None).violates_beyond_chance(0.1)  # of 1.3 %


def test_where_nothing_can_be_promised_nothing_is_violated() -> None:
    asked = only([Sample(float(place), place % 2 == 0) for place in range(400)], splits=3)
    assert (asked.violation_share, asked.nothing_passes_share, asked.risk) == (0.0, 1.0, None)
    assert asked.acceptance.high == 0.0


def test_lower_scores_may_be_better() -> None:
    samples = POPULATION.draw(1_200, Random(2))
    upside_down = [Sample(-score, right) for score, right in samples]
    assert only(samples, splits=5) == only(upside_down, splits=5, higher=False)


def test_equal_arguments_give_equal_figures_and_the_sweep_leaves_out_what_cannot_be_shown() -> None:
    samples = POPULATION.draw(400, Random(3))
    first, again = (measure_splits(samples, splits=4, alphas=(0.02, 0.2)) for _ in range(2))
    assert first.sweep == again.sweep
    assert ([each.alpha for each in first.sweep], first.left_out) == ([0.1, 0.2], (0.02,))
    assert "100 samples cannot show alpha 0.02." in first.report().notes
    with pytest.raises(InputError, match=r"100 scored samples cannot show that at most 0\.02"):
        measure_splits(samples, alpha=0.02)
    with pytest.raises(InputError, match="400 of 400 samples to calibrate on"):
        measure_splits(samples, calibration=400)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"right": True}, "score is missing"),
        ({"score": "high", "right": True}, "'high'"),
        ({"score": True, "right": True}, "score is True"),
        ({"score": 1.0, "right": 1}, "right is 1"),
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: object, why: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)rows.jsonl:2: no labelled score.*{why}"):
        read_samples(lines(tmp_path / "rows.jsonl", {"score": None, "right": True}, row))
    with pytest.raises(InputError, match="holds no samples"):
        read_samples(lines(tmp_path / "empty.jsonl"))


def test_the_command_reads_scores_and_draws(tmp_path: Path) -> None:
    rows = [{"score": -score, "right": right} for score, right in POPULATION.draw(600, Random(4))]
    file = lines(tmp_path / "scores.jsonl", *rows)
    picture = tmp_path / "gate.svg"
    words = ["gate", str(file), "--lower", "--splits", "5", "--calibration", "300", "--picture", str(picture)]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert {"violation_share", "acceptance_over_hindsight"} <= told["figures"].keys()
    assert "violation_share_of_population" not in told["figures"]
    assert (told["repeats"], told["calibration"], told["samples"]) == (5, 300, 600)
    assert [each["alpha"] for each in told["sweep"]][-1] == 0.3
    assert set(told["sweep"][-1]["risk"]) == {"low", "middle", "high"}
    assert "Errors among what is accepted, 5 splits" in picture.read_text()


def test_the_command_draws_samples_of_its_own() -> None:
    words = ["gate", "--splits", "2", "--drawn", "400", "--wrong", "0.2", "--apart", "2"]
    told = CliRunner().invoke(app, words).stdout
    assert "2 splits, each drawn anew, 100 of 400 samples to calibrate on" in told
    assert "true ones" in told


def test_a_picture_is_the_same_again_and_its_ending_says_what_it_is(tmp_path: Path) -> None:
    measured = measure_splits(POPULATION.draw(400, Random(3)), splits=4)
    for name in ("one.svg", "two.svg", "three.png"):
        draw(measured, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "three.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"no picture has the ending '\.txt'"):
        draw(measured, tmp_path / "four.txt")
    with pytest.raises(InputError, match="cannot write"):
        draw(measured, tmp_path / "missing" / "five.svg")
