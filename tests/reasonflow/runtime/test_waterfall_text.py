"""A waterfall as text: bars of one width, the same in ASCII, and what the stream's encoding decides."""

from __future__ import annotations

import io
import sys

import dspy
import pytest

import reasonflow as rf
from reasonflow.runtime.waterfall import lay_out
from reasonflow.runtime.waterfall_text import WIDTH, as_text, seconds
from tests.reasonflow.runtime.waterfall_spans import span

SPANS = [
    *(span("draft", index, total_s=2.0 + index, outcome="cancelled" if index > 4 else "done") for index in range(6)),
    span("each/very_long_name_of_a_step/refine", 12, started_s=7.0, outcome="failed"),
    span("join", started_s=9.0, total_s=3.0),
]


def test_bars_lie_under_the_axis() -> None:
    lines = as_text(lay_out(SPANS, path=(4, 7)), ascii_only=False).splitlines()
    axis, drafts, refine, join = lines[:4]
    zero, ten = axis.index("0"), axis.index("10")
    assert drafts[:16] == "◆ draft × 6     "
    assert drafts.index("·") == zero
    assert "2.0 / 4.5 / 7.0 ⊘ 1 · 600 → 120" in drafts
    assert refine.startswith("  …me_of_a_step/refine[12] ")
    assert "✗ failed" in refine
    assert join.index("▒") < ten < len(join.split("3.00")[0].rstrip())
    assert lines[-1] == "critical path, by tokens: draft[4] → join (2 calls, 9.00 s)"
    assert max(map(len, lines)) <= WIDTH


def test_ascii_says_the_same() -> None:
    waterfall = lay_out([*SPANS, span("wähle", started_s=20.0, replayed=True)], path=(4, 7))
    plain, fancy = as_text(waterfall, ascii_only=True), as_text(waterfall, ascii_only=False)
    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in fancy.splitlines()]
    assert "* draft x 6" in plain
    assert "replayed" in plain


@pytest.mark.parametrize(("encoding", "ascii_only"), [("utf-8", False), ("ascii", True), ("latin-1", True)])
def test_print_asks_the_stream(monkeypatch: pytest.MonkeyPatch, encoding: str, ascii_only: bool) -> None:
    written = io.BytesIO()
    with dspy.context(lm=rf.scripted("\\boxed{5}")):
        run = rf.SelfConsistency(n=6)(problem="p").run
    stream = io.TextIOWrapper(written, encoding=encoding)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        print(run.waterfall(), flush=True)
    text = written.getvalue().decode(encoding)
    assert text.isascii() == ascii_only
    assert ("draft x 6" if ascii_only else "draft × 6").replace("draft", run.spans[0].node) in text


def test_no_span_no_bar() -> None:
    assert str(lay_out([])) == "no model was called"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_durations_have_the_decimals_they_deserve(value: float, text: str) -> None:
    assert seconds(value) == text
