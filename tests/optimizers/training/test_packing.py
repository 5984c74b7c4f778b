"""Packed rows lose nothing, invent nothing, and let nothing cross from one document to the next."""

from __future__ import annotations

from itertools import cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

from reasonflow.errors import InputError  # noqa: E402
from reasonflow.optimizers.training.examples import Encoded  # noqa: E402
from reasonflow.optimizers.training.packing import IGNORED, batches, pack  # noqa: E402
from tests.optimizers.training.counting import COUNTING  # noqa: E402

WIDTH = 32


@st.composite
def documents(draw: st.DrawFn) -> list[Encoded]:
    """Documents whose token ids are all different, so that each can be found again."""
    made, used = [], 1
    for length in draw(st.lists(st.integers(1, WIDTH + 6), max_size=40)):
        edges = sorted(draw(st.sets(st.integers(0, length), max_size=4)))
        spans = tuple(zip(edges[::2], edges[1::2], strict=False))
        made.append(Encoded(range(used, used + length), spans))
        used += length
    return made


@settings(deadline=None)
@given(documents())
def test_every_document_lies_whole_and_once_in_a_row(some: list[Encoded]) -> None:
    found = []
    for row in pack(iter(some), WIDTH):
        padding = row.documents.max() if row.tokens[-1] == 0 else None
        for number in range(row.documents.max() + 1):
            places = np.flatnonzero(row.documents == number)
            assert (np.diff(places) == 1).all()
            if number == padding:
                assert not row.tokens[places].any()
                continue
            assert row.positions[places].tolist() == list(range(len(places)))
            found.append(tuple(row.tokens[places].tolist()))
    assert sorted(found) == [tuple(each.tokens) for each in some if len(each.tokens) <= WIDTH]


@settings(deadline=None)
@given(documents())
def test_labels_are_the_learned_tokens_each_once(some: list[Encoded]) -> None:
    learned = sorted(
        each.tokens[place]
        for each in some
        if len(each.tokens) <= WIDTH
        for first, last in each.learned
        for place in range(max(first, 1), last)
    )
    found = []
    for row in pack(iter(some), WIDTH):
        for place in np.flatnonzero(row.labels != IGNORED):
            assert row.labels[place] == row.tokens[place + 1] == row.tokens[place] + 1
            assert row.documents[place] == row.documents[place + 1]
            found.append(int(row.labels[place]))
    assert sorted(found) == learned


@given(documents(), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_documents_learned_tokens_weigh_as_the_stage_says(some: list[Encoded], evened: float) -> None:
    for row in pack(iter(some), WIDTH, evened):
        learned = row.labels != IGNORED
        assert (row.weights[~learned] == 0).all()
        for document in np.unique(row.documents[learned]):
            weights = row.weights[learned & (row.documents == document)]
            assert weights.sum() == pytest.approx(len(weights) ** (1 - evened), rel=1e-5)


def test_little_is_padding() -> None:
    rows = list(islice(pack(COUNTING.examples("count", 0), 256), 50))
    assert sum(int((row.tokens == 0).sum()) for row in rows) < 0.02 * 50 * 256


def test_documents_that_all_are_too_long_are_refused() -> None:
    long, short = Encoded(range(WIDTH + 1), ()), Encoded(range(3), ())
    with pytest.raises(InputError, match="do not fit a row of 32") as refused:
        next(pack(cycle([long]), WIDTH))
    assert "33" in refused.value.why
    assert next(pack(cycle([long, short]), WIDTH)).tokens[:6].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_repeat_by_seed_and_each_process_makes_others(workers: int) -> None:
    def some(seed: int) -> list[list[list[int]]]:
        stream = batches(COUNTING, "count", seed=seed, rows=2, width=64, workers=workers)
        return [next(stream).tokens.tolist() for _ in range(4)]

    first = some(1)
    assert [len(batch) for batch in first] == [2] * 4
    assert first == some(1) != some(2)
    drawn = [str(row) for batch in first for row in batch]
    assert len(set(drawn)) == len(drawn)
