"""The benchmark of the index at a small size: its shape and its promises, not its figures."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from typer.testing import CliRunner

from reasonflow.cli.bench import app
from reasonflow.errors import InputError
from reasonflow.evals.performance.retrieval import Indexing, look_alikes, measure_index, percentile_95

FIGURES = {
    "passages", "build_s", "peak_rss_gib", "index_bytes", "open_s", "p50_ms", "p95_ms", "p50_ms_8_at_once",
    "p95_ms_8_at_once", "found_first",
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> Indexing:
    return measure_index(passages=2000, queries=50)


def test_every_query_is_timed_alone_and_together(measured: Indexing) -> None:
    assert len(measured.alone_ms) == len(measured.together_ms) == 50
    assert min(*measured.alone_ms, *measured.together_ms) > 0


def test_the_figures_are_of_what_was_built(measured: Indexing) -> None:
    figures = measured.figures()
    assert figures.keys() == FIGURES
    assert figures["passages"] == 2000
    assert figures["index_bytes"] > 2000 * 60 * 8  # a number and a score for most words, beside the texts
    assert figures["p50_ms"] <= figures["p95_ms"]
    assert 0.01 < figures["peak_rss_gib"] < 64


def test_words_of_a_passage_find_it_before_its_look_alikes(measured: Indexing) -> None:
    assert measured.found_first > 0.7


def test_passages_are_equal_in_every_process_and_look_alike_in_groups() -> None:
    passages = list(look_alikes(40, seed=1))
    assert passages == list(look_alikes(40, seed=1)) == list(islice(look_alikes(5000, seed=1), 40))
    assert passages != list(look_alikes(40, seed=2))
    assert len({passage.id for passage in passages}) == 40
    one, like, _, _, other = (passage.text.split() for passage in passages[:5])
    shared, by_chance = (sum(a == b for a, b in zip(one, each, strict=True)) for each in (like, other))
    assert len(one) == 60
    assert by_chance < 30 < 52 <= shared < 60


@pytest.mark.parametrize(
    ("numbers", "bound"), [([1.0], 1.0), (list(range(1, 21)), 19), (list(range(100, 0, -1)), 95), ([3, 1, 2], 3)]
)
def test_percentiles(numbers: list[float], bound: float) -> None:
    assert percentile_95(numbers) == bound


def test_the_command_prints_them_beside_what_they_were_measured_on() -> None:
    result = CliRunner().invoke(app, ["index", "--passages", "300", "--queries", "5", "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["figures"].keys() == FIGURES
    assert told["queries"] == 5
    assert {"bm25s", "numpy", "python"} <= told["versions"].keys()


def test_more_queries_than_passages_are_as_many_as_there_are() -> None:
    assert len(measure_index(passages=3, queries=10).alone_ms) == 3


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="0 passages"):
        measure_index(passages=0)
