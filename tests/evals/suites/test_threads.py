"""The suite `threads` on a model whose every token is known: its figures by hand, and that it goes on where it stopped.

Tokens of a run, k threads of m words and t words behind them, as the scripted tokenizer counts (see `weaver`):

  one sequence of n words      n + 3 + 1
  planned, side by side        (10 + 6k) + (longest m + 3) + (3 + t + 3 + 1)
  its text, by the formula     (11 + 6k) + 5 (k - 1) + 6 + (longest m + 1) + t + 3
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, median
from typing import Any

import dspy
import pytest

from reasonflow.errors import EngineDead, InputError, UnknownName
from reasonflow.evals import suites
from reasonflow.evals.benchmarks import load
from reasonflow.evals.samples import Sample, read_samples
from reasonflow.evals.suites import threads
from reasonflow.evals.suites.findings import Findings, Share
from reasonflow.evals.suites.threads import GOALS, SUITE
from tests.evals.suites.weaver import Play, Weaver, made, text_of

PLAYS = (
    Play(sequential=200, threads=(60, 90), tail=5),
    Play(sequential=300, threads=(100, 80, 90), tail=10),
    Play(sequential=100, right=False, tail=50, threaded_right=False),
    # The second thread has no end: nobody goes on behind it, no answer comes of it, and it is solved in one go.
    Play(sequential=150, threads=(10, 20), tail=5, threaded_right=False, closed=False),
)
LIMIT = len(PLAYS)
PROBLEMS = load("graphmath:threads", limit=LIMIT)
SEQUENTIAL = (204, 304, 104, 154)
THREADED = (22 + 93 + 12, 28 + 103 + 17, 54, 24 + 21 + 73)
"""Of the last one: its plan behind the two tokens of `<think>`, its thread without an end, and the whole text."""


def weaver() -> Weaver:
    return Weaver(PROBLEMS, PLAYS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weaver, Findings]:
    """One run of all of it."""
    out, model = tmp_path_factory.mktemp("suite"), weaver()
    return out, model, made(SUITE, out, model, LIMIT)


def samples(out: Path, folder: str) -> list[Sample]:
    """In the problems' order."""
    found = {sample.id: sample for sample in read_samples(out / folder / "samples.jsonl")}
    return [found[problem.id] for problem in PROBLEMS]


def test_accuracies_and_their_difference(whole: tuple[Path, Weaver, Findings]) -> None:
    figures = whole[2].figures
    assert figures["sequential_accuracy"] == 3 / 4
    assert figures["threaded_accuracy"] == 2 / 4
    assert figures["autoregressive_accuracy"] == 2 / 4
    assert figures["threaded_minus_sequential_threads"] == -1 / 4


def test_token_latencies_are_those_counted_by_hand(whole: tuple[Path, Weaver, Findings]) -> None:
    out, _, found = whole
    assert [sample.token_latency for sample in samples(out, "accuracy/sequential")] == list(SEQUENTIAL)
    assert [sample.token_latency for sample in samples(out, "accuracy/threaded")] == list(THREADED)
    figures = found.figures
    assert figures["sequential_token_latency"] == fmean(SEQUENTIAL)
    assert figures["threaded_token_latency"] == fmean(THREADED)
    ratios = [a / b for a, b in zip(SEQUENTIAL, THREADED, strict=True)]
    assert figures["token_latency_ratio"] == pytest.approx(fmean(ratios))
    assert figures["token_latency_ratio_right"] == pytest.approx(fmean(ratios[:2]))
    # In one go a word at a thread's end has its tag in the same token.
    assert figures["autoregressive_token_latency"] == fmean((193, 329, 54, 73))


def test_what_threads_save_is_counted_in_the_text(whole: tuple[Path, Weaver, Findings]) -> None:
    figures = whole[2].figures
    # Of the last: the second thread ends where the block is closed, with the line break before that.
    longest = (133, 159, 53, 3 + 23 + 22 + 5 + 3 + 8)
    total = (133 + 61, 159 + 81 + 91, 53, 64 + 11)
    assert figures["autoregressive_parallel_latency"] == fmean(longest)
    ratios = list(zip(longest, total, strict=True))
    assert figures["acceleration_ratio"] == pytest.approx(fmean(1 - one / both for one, both in ratios))
    assert figures["self_parallelism"] == pytest.approx(fmean(both / one for one, both in ratios))


def test_a_malformed_trajectory_is_counted(whole: tuple[Path, Weaver, Findings]) -> None:
    figures = whole[2].figures
    assert figures["format_rate"] == 3 / 4
    assert figures["autoregressive_format_rate"] == 3 / 4
    assert figures["activation_rate"] == figures["autoregressive_activation_rate"] == 3 / 4
    assert figures["rescued_share"] == 1 / 4
    assert figures["blocks_per_trajectory"] == 1
    assert figures["threads_per_block"] == pytest.approx(7 / 3)


def test_repairs_are_counted_by_kind_without_their_places(whole: tuple[Path, Weaver, Findings]) -> None:
    (found,) = [each.rows for each in whole[2].breakdowns if each.name == "repairs"]
    kinds = {row["repair"]: (row["times"], row["runs"]) for row in found}
    assert kinds["thread N ended with the model's turn: it is closed"] == (1, 1)
    assert kinds["no answer came of it: solved in one go"] == (1, 1)
    assert kinds["<Thread> is not closed before </Parallel>"] == (1, 1)


def test_breakdowns_are_by_width_and_by_number(whole: tuple[Path, Weaver, Findings]) -> None:
    found = {each.name: each.rows for each in whole[2].breakdowns}
    by_width = {row["threads"]: row for row in found["by_width"]}
    assert [row["problems"] for row in found["by_width"]] == [1, 2, 1, 0, 0, 0]
    assert by_width["1"]["sequential"] == by_width["1"]["threaded"] == Share(0.0, 1)
    assert by_width["2"]["sequential"] == Share(1.0, 2)
    assert by_width["2"]["threaded"] == Share(0.5, 2)
    assert by_width["3"]["token latency ratio"] == round(304 / 148, 2)
    assert by_width["6"]["token latency ratio"] is None
    numbers = [tuple(row.values()) for row in found["blocks_and_threads"]]
    assert numbers == [(0, 1, 0), (1, 3, 0), (2, 0, 2), (3, 0, 1)]
    threaded, autoregressive = found["modes"]
    assert threaded["rescued"] == Share(0.25, 4)
    assert autoregressive["rescued"] == Share(0.0, 4)


def test_low_load_is_measured_pair_by_pair(whole: tuple[Path, Weaver, Findings]) -> None:
    out, _, found = whole
    sequential, threaded = samples(out, "low_load/sequential"), samples(out, "low_load/threaded")
    figures = found.figures
    assert figures["sequential_s"] == pytest.approx(median(sample.wall_s for sample in sequential))
    assert figures["threaded_s"] == pytest.approx(median(sample.wall_s for sample in threaded))
    ratios = [a.wall_s / b.wall_s for a, b in zip(sequential, threaded, strict=True)]
    assert figures["wall_ratio"] == pytest.approx(fmean(ratios))
    # The same seeds as in the other part, and so the same texts.
    assert [sample.seed for sample in threaded] == [sample.seed for sample in samples(out, "accuracy/threaded")]
    assert [sample.token_latency for sample in threaded] == list(THREADED)


def test_what_is_computed_is_held_against_the_trie_of_the_prompts(whole: tuple[Path, Weaver, Findings]) -> None:
    out, _, found = whole
    lines = {row["id"]: row for row in rows(out / "low_load/threaded/prompts.jsonl")}
    threaded = samples(out, "low_load/threaded")
    for sample in threaded:
        assert sample.input_tokens is not None
        assert lines[sample.id]["computed"] == sample.input_tokens - (sample.cached_tokens or 0)
        assert lines[sample.id]["ideal"] <= lines[sample.id]["computed"] < sample.input_tokens or sample.calls == 1
    ratio = sum(row["computed"] for row in lines.values()) / sum(row["ideal"] for row in lines.values())
    assert found.figures["computed_over_ideal"] == pytest.approx(ratio)
    # Of the run without threads there is one prompt, and no way to compute less of it.
    alone = lines[PROBLEMS[2].id]
    assert alone["computed"] == alone["ideal"] == threaded[2].input_tokens


def test_every_goal_has_its_figure_and_seconds_have_none_without_a_gpu(whole: tuple[Path, Weaver, Findings]) -> None:
    found = whole[2]
    assert found.goals == GOALS
    assert all(goal.met(found.figures) is not None for goal in GOALS)
    assert {goal.figure for goal in GOALS} <= {name for row in found.rows for name in row.figures()}


def test_a_second_run_asks_nothing_and_finds_the_same(whole: tuple[Path, Weaver, Findings]) -> None:
    out, model, first = whole
    asked = model.asked
    assert made(SUITE, out, model, LIMIT) == first
    assert model.asked == asked
    assert json.loads((out / "results.json").read_text())["figures"] == first.to_json()["figures"]


@pytest.mark.parametrize("share", [0.3, 0.85])
def test_a_run_that_was_stopped_goes_on_to_the_same_figures(
    whole: tuple[Path, Weaver, Findings], tmp_path: Path, share: float
) -> None:
    model = weaver()
    model.dies_after = int(whole[1].asked * share)
    with pytest.raises(EngineDead):
        made(SUITE, tmp_path, model, LIMIT)
    model.asked, model.dies_after = 0, None
    again = made(SUITE, tmp_path, model, LIMIT)
    assert untimed(again) == untimed(whole[2])
    assert again.breakdowns == whole[2].breakdowns
    assert model.asked < whole[1].asked * (1.15 - share)


def test_parts_make_the_same_table_together(whole: tuple[Path, Weaver, Findings], tmp_path: Path) -> None:
    model = weaver()
    low = made(SUITE, tmp_path, model, LIMIT, parts=("low_load",))
    assert set(low.figures) == {"wall_ratio", "computed_over_ideal", "sequential_s", "threaded_s"}
    high = made(SUITE, tmp_path, model, LIMIT, parts=("accuracy",))
    assert not (tmp_path / "results.json").exists()
    asked = model.asked
    assert made(SUITE, tmp_path, model, LIMIT).figures == {**high.figures, **low.figures}
    assert model.asked == asked


def test_a_run_that_fails_is_wrong_without_form_and_in_no_ratio(tmp_path: Path) -> None:
    model = weaver()
    model.fails = text_of(PROBLEMS[0])
    found = made(SUITE, tmp_path, model, LIMIT)
    figures = found.figures
    assert figures["threaded_accuracy"] == 1 / 4
    assert figures["format_rate"] == 2 / 4
    assert figures["threaded_token_latency"] == fmean(THREADED[1:])
    ratios = [a / b for a, b in zip(SEQUENTIAL[1:], THREADED[1:], strict=True)]
    assert figures["token_latency_ratio"] == pytest.approx(fmean(ratios))
    (by_width,) = [each.rows for each in found.breakdowns if each.name == "by_width"]
    assert by_width[-1]["threads"] == "failed"
    assert by_width[-1]["problems"] == 1
    assert [row.problems for row in found.rows if row.task == "low load"] == [3, 3]


@pytest.mark.parametrize("part", ["accuracy", "low_load"])
def test_other_problems_are_refused_in_the_same_folder(whole: tuple[Path, Weaver, Findings], part: str) -> None:
    with pytest.raises(InputError, match="samples of another evaluation"):
        made(SUITE, whole[0], whole[1], LIMIT - 1, parts=(part,))


def test_names_have_a_dash_where_modules_have_an_underscore() -> None:
    assert suites.find("threads") is SUITE
    assert suites.find("threads-prompted").name == "threads-prompted"
    with pytest.raises(UnknownName, match="did you mean 'threads-prompted'"):
        suites.find("threads_prompted")


@pytest.mark.engine
def test_on_the_real_engine_every_figure_is_there(
    embedded_lm: dspy.LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leave_open(lm: dspy.LM) -> None:
        """Other tests go on with this engine."""

    monkeypatch.setattr(threads, "close", leave_open)

    class Shared(Weaver):
        def open(self, model: str) -> dspy.LM:
            return embedded_lm.copy()

    found = made(SUITE, tmp_path, Shared(PROBLEMS, PLAYS), 1)
    figures = found.figures
    assert all(figures[name] is not None for name in ("sequential_accuracy", "threaded_accuracy", "format_rate"))
    assert (figures["sequential_s"] or 0) > 0
    assert (figures["threaded_s"] or 0) > 0
    assert 1 <= (figures["computed_over_ideal"] or 0) < 1.5


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def untimed(found: Findings) -> dict[str, float | None]:
    """The figures without seconds."""
    return {name: value for name, value in found.figures.items() if name not in ("wall_ratio", *SECONDS)}


SECONDS = ("sequential_s", "threaded_s")
