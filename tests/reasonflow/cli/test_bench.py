"""`reasonflow bench overhead`, over figures made up in advance."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from reasonflow.cli.bench import app
from reasonflow.evals.performance import overhead
from reasonflow.evals.performance.overhead import Measurement, Overhead


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The benchmark replaced by figures; how many repeats it was asked for."""
    repeats_asked: list[int] = []

    def measure(*, repeats: int) -> Overhead:
        repeats_asked.append(repeats)
        costs = {"ours": 0.05, "dspy_sync": 0.4, "dspy_async": 0.5}
        rows = tuple(
            Measurement(arm=arm, width=64, cpu_ms=ms, cpu_ms_range=(ms, ms), wall_ms=ms) for arm, ms in costs.items()
        )
        return Overhead(measurements=rows, repeats=repeats, versions={"dspy": "3.4.1"}, hardware={"cores": "2"})

    monkeypatch.setattr(overhead, "measure_overhead", measure)
    return repeats_asked


def test_json_holds_one_flat_map_of_figures(asked: list[int]) -> None:
    result = CliRunner().invoke(app, ["overhead", "--json", "--repeats", "3"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["figures"] == {"ours_ms_64": 0.05, "dspy_sync_ms_64": 0.4, "dspy_async_ms_64": 0.5}
    assert asked == [3]


def test_the_table_gives_the_ratio_to_the_better_baseline(asked: list[int]) -> None:
    result = CliRunner().invoke(app, ["overhead"])
    assert result.exit_code == 0
    assert "0.12" in result.stdout
    assert "dspy 3.4.1" in result.stdout


def test_zero_repeats_are_refused(asked: list[int]) -> None:
    assert CliRunner().invoke(app, ["overhead", "--repeats", "0"]).exit_code == 2
    assert asked == []
