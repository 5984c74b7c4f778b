"""The geometry of a waterfall: what shares a row, where segments lie, what is left out where there is too much."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.runtime.record import Span
from reasonflow.runtime.waterfall import MOST_ROWS, Row, Waterfall, lay_out
from tests.reasonflow.runtime.waterfall_spans import span


def shape(row: Row) -> list[tuple[str, float, float]]:
    return [(segment.kind, segment.from_s, segment.to_s) for segment in row.segments]


def test_a_span_is_queued_then_prefilled_then_decoded() -> None:
    [row] = lay_out([span(started_s=1.0)], wall_s=4.0).rows
    assert shape(row) == [("queued", 1.0, 1.5), ("prefill", 1.5, 2.0), ("decode", 2.0, 3.0)]
    assert (row.title, row.took_s, row.cached_tokens) == ("draft", (2.0, 2.0, 2.0), 60)


def test_without_a_first_token_prefill_and_decode_are_one() -> None:
    [row] = lay_out([span(first_token_s=None, cached_tokens=None)]).rows
    assert shape(row) == [("queued", 0.0, 0.5), ("running", 0.5, 2.0)]
    assert row.cached_tokens is None


def test_samples_side_by_side_fold_and_calls_after_each_other_do_not() -> None:
    group = [span("draft", index, total_s=2.0 + index) for index in range(8)]
    rounds = [span("loop/refine", index, started_s=20.0 + 2 * index) for index in range(8)]
    rows = lay_out([*group, *rounds]).rows
    assert [row.title for row in rows] == ["draft × 8", *(f"loop/refine[{index}]" for index in range(8))]
    folded = rows[0]
    assert shape(folded)[-2:] == [("decode", 1.0, 2.0), ("spread", 2.0, 9.0)]
    assert folded.took_s == (2.0, 5.5, 9.0)
    assert folded.median_end_s == 5.5
    assert [member.title for member in folded.members] == [f"draft[{index}]" for index in range(8)]


def test_a_folded_row_keeps_the_numbers_that_its_spans_share() -> None:
    rounds = [span("each/solve", 3, index) for index in range(6)]
    assert [row.title for row in lay_out(rounds).rows] == ["each/solve[3] × 6"]


def test_the_critical_path_is_marked_where_it_lies() -> None:
    spans = [span("draft", index, total_s=2.0 + index) for index in range(8)] + [span("join", started_s=10.0)]
    waterfall = lay_out(spans, path=(5, 8), wall_s=12.0)
    drafts, join = waterfall.rows
    assert drafts.critical == ((0.0, 7.0),)
    assert join.critical == ((10.0, 12.0),)
    assert [member.title for member in drafts.members if member.critical] == ["draft[5]"]
    assert waterfall.path == ("draft[5]", "join")
    assert waterfall.path_s == 9.0


def test_a_long_critical_path_names_its_ends() -> None:
    spans = [span("loop/refine", index, started_s=2.0 * index) for index in range(30)]
    waterfall = lay_out(spans, path=range(30))
    assert waterfall.path[-1] == "loop/refine[29]"
    assert (len(waterfall.path), waterfall.path_calls) == (6, 30)


def test_a_replayed_span_takes_no_time_in_this_run() -> None:
    waterfall = lay_out([span(started_s=1.0, replayed=True)], wall_s=1.5)
    [row] = waterfall.rows
    assert (row.segments, row.ended_s, row.replayed, waterfall.seconds) == ((), 1.0, 1, 1.5)


def test_spans_without_length_and_runs_without_spans() -> None:
    instant = [span("draft", index, queued_s=0.0, first_token_s=0.0, total_s=0.0) for index in range(3)]
    waterfall = lay_out(instant)
    assert [row.segments for row in waterfall.rows] == [()] * 3
    assert waterfall.ticks() == (0.0,)
    assert lay_out([]).rows == ()


def test_what_is_too_much_is_folded_by_step_then_left_out_and_counted() -> None:
    rounds = [span("refine", index, started_s=2.0 * index) for index in range(100)]
    assert [row.title for row in lay_out(rounds).rows] == ["refine × 100"]
    steps = [span(f"step_{index}", started_s=2.0 * index, total_s=1.0 + index) for index in range(100)]
    waterfall = lay_out(steps, path=(0,))
    assert len(waterfall.rows) == MOST_ROWS
    assert waterfall.hidden == 100 - MOST_ROWS
    assert [row.title for row in waterfall.rows][:2] == ["step_0", "step_41"], "the critical and the longest stay"


def test_of_many_members_those_that_matter_are_shown() -> None:
    spans = [span("draft", index, outcome="failed" if index == 777 else "done") for index in range(1000)]
    [row] = lay_out(spans, path=(888,)).rows
    shown = {member.title for member in row.members}
    assert {"draft[777]", "draft[888]"} <= shown
    assert row.hidden == 1000 - len(shown)
    assert row.outcomes == {"done": 999, "failed": 1}


def test_ticks_are_round_and_end_inside() -> None:
    for seconds in (0.0031, 0.7, 4.0, 9.9, 61.0, 86_400.0):
        ticks = lay_out([span(total_s=seconds)]).ticks()
        assert 4 <= len(ticks) <= 11, seconds
        assert ticks[-1] <= seconds * 1.000001


times = st.floats(0, 100, allow_nan=False)
spans = st.builds(
    span,
    st.sampled_from(["draft", "loop/refine", "join"]),
    st.integers(0, 9),
    started_s=times,
    queued_s=times,
    first_token_s=st.none() | times,
    total_s=times,
    cached_tokens=st.none() | st.integers(0, 100),
    outcome=st.sampled_from(["done", "failed", "cancelled"]),
    replayed=st.booleans(),
)


@given(st.lists(spans, max_size=90), st.data())
@settings(deadline=None, max_examples=60)
def test_segments_never_overlap_nor_leave_the_axis_and_no_span_is_lost(found: list[Span], data: st.DataObject) -> None:
    path = data.draw(st.lists(st.integers(0, len(found) - 1), unique=True, max_size=5)) if found else []
    waterfall = lay_out(found, path, data.draw(times))
    assert sum(row.samples for row in waterfall.rows) + waterfall.hidden == len(found)
    assert len(waterfall.rows) <= MOST_ROWS
    for row in every_row(waterfall):
        moments = [moment for segment in row.segments for moment in (segment.from_s, segment.to_s)]
        assert moments == sorted(moments)
        assert all(before.to_s == after.from_s for before, after in pairwise(row.segments))
        assert all(0 <= moment <= waterfall.seconds for moment in (*moments, row.started_s, row.ended_s))
        assert all(one[1] < other[0] for one, other in pairwise(row.critical))
        assert row.hidden + len(row.members) == (row.samples if row.folded else 0)


def every_row(waterfall: Waterfall) -> list[Row]:
    return [*waterfall.rows, *(member for row in waterfall.rows for member in row.members)]
