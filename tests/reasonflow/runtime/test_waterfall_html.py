"""A waterfall as HTML: well formed, inside its frame, readable in every theme, and small and fast for large runs."""

from __future__ import annotations

import gc
import random
import re
import time
from html.parser import HTMLParser

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.runtime.record import Span
from reasonflow.runtime.waterfall import lay_out
from tests.reasonflow.runtime.waterfall_spans import span


class Page(HTMLParser):
    """The elements' texts, styles and titles; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.styles: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.styles.append(dict(attrs).get("style") or "")
        self.titles.append(dict(attrs).get("title") or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def title_of(self, row: str) -> str:
        [title] = [title for title in self.titles if title.startswith(f"{row}: ")]
        return title


def page_of(spans: list[Span], path: tuple[int, ...] = (), wall_s: float = 0.0) -> Page:
    return Page(lay_out(spans, path, wall_s)._repr_html_())


def test_a_row_tells_exact_figures_when_pointed_at() -> None:
    page = page_of([span("draft", 3, repairs=("guessed",))], path=(0,))
    assert page.title_of("draft[3]") == (
        "draft[3]: done; 0.000 to 2.000 s, took 2.000 s; queued 0.500 s, prefill 0.500 s, decode 1.000 s; "
        "100 tokens in (60 cached), 20 out; 1 with a repaired text; on the critical path"
    )


def test_a_group_of_64_is_one_row_that_opens() -> None:
    page = page_of([span("draft", index, total_s=2.0 + index) for index in range(64)])
    assert page.titles.count("") < len(page.titles)
    assert "draft × 64" in page.text
    assert "2.0 / 34 / 65" in page.text
    assert page.text.count("draft[") == 64
    assert "more are not shown" not in page.text


def test_what_is_left_out_is_counted() -> None:
    page = page_of([span("draft", index) for index in range(1000)])
    assert f"{1000 - page.text.count('draft[')} more are not shown" in page.text
    steps = [span(f"step_{index}", started_s=3.0 * index) for index in range(100)]
    assert "40 of 100 calls are in no row" in page_of(steps).text


@pytest.mark.parametrize(("outcome", "sign"), [("failed", "✗"), ("cancelled", "⊘")])
def test_what_did_not_end_well_has_a_form_of_its_own(outcome: str, sign: str) -> None:
    page, well = page_of([span(outcome=outcome)]), page_of([span()])
    assert f"{sign} {outcome}" in page.text
    assert any("dashed" in style for style in page.styles)
    assert sign not in well.text
    assert not any("dashed" in style for style in well.styles)


def test_replayed_spans_and_unknown_cached_counts_are_marked() -> None:
    page = page_of([span(replayed=True), span("join", started_s=1.0, cached_tokens=None)])
    assert "↺ replayed" in page.text
    assert "cached unknown" in page.title_of("join")
    assert any("dotted" in style for style in page.styles)


def test_everything_lies_inside_its_frame() -> None:
    found = random.Random(1)
    spans = [
        span("draft", index, started_s=found.random(), queued_s=found.random(), total_s=found.choice([0.0, 1.0, 9.0]))
        for index in range(40)
    ]
    places = 0
    for style in page_of(spans, path=(3,), wall_s=2.0).styles:
        left = re.search(r"left:([\d.]+)%", style)
        width = re.search(r"(?<!-)width:([\d.]+)%", style)
        if left is not None:
            places += 1
            assert float(left[1]) + (float(width[1]) if width else 0.0) <= 100.02
    assert places > 90


def test_a_run_draws_its_tree_and_its_waterfall_below() -> None:
    slow = rf.scripted("\\boxed{5}", latency=lambda request, index: 0.01 * (index + 1))
    with dspy.context(lm=slow):
        run = rf.PDR(widths=(6, 2))(problem="<b>p</b>").run
    drawn = run._repr_html_()
    page = Page(drawn.replace("<wbr>", ""))
    assert page.text.index("sequential tokens") < page.text.index("critical path, by tokens: ")
    assert "draft × 6" in page.text[page.text.index("sequential tokens") :]
    assert "<script" not in drawn
    assert "<style" not in drawn
    assert not re.search(r"(?<![-\w])color:", drawn), "text keeps the theme's colour"
    assert "http" not in drawn


def test_runs_that_failed_were_cut_or_asked_nothing_are_drawn() -> None:
    class Two(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer: int", style="fields")

        def plan(self, problem: object) -> object:
            return self.solve(problem=self.solve(problem=problem).answer)

    with dspy.context(lm=rf.scripted("no number")), pytest.raises(AdapterParseError) as caught:
        Two()(problem="p")
    failed = Page(caught.value.run._repr_html_().replace("<wbr>", ""))
    assert "✗ failed" in failed.text
    cut = rf.SequentialRefine(rounds=5)
    cut.budget = rf.Budget(calls=2)
    with dspy.context(lm=rf.scripted("\\boxed{5}")):
        run = cut(problem="p").run
    assert "cut short" in Page(run._repr_html_().replace("<wbr>", "")).text
    assert "no model was called" in Page(lay_out([])._repr_html_()).text


def test_names_are_escaped() -> None:
    page = lay_out([span("<i>'\"&")])._repr_html_()
    Page(page)
    assert "<i>" not in page


@pytest.mark.parametrize("kind", ["one group", "many groups", "one chain"])
def test_ten_thousand_spans_are_drawn_at_once(kind: str) -> None:
    found = random.Random(0)

    def one(number: int) -> Span:
        step, branch = divmod(number, 100)
        queued, first, total = sorted(found.random() * 3 for _ in range(3))
        node, started = {
            "one group": ("draft", 0.0),
            "many groups": (f"each/solve_{step}/loop/refine", step * 0.5),
            "one chain": ("loop/refine", 5.0 * number),
        }[kind]
        outcome = found.choice(["done", "done", "failed", "cancelled"])
        times = {"started_s": started, "queued_s": queued, "first_token_s": first, "total_s": total}
        return span(node, branch if kind == "many groups" else number, outcome=outcome, **times)

    spans = [one(number) for number in range(10_000)]
    path = range(10_000) if kind == "one chain" else range(0, 10_000, 100)
    took = []
    gc.collect()
    gc.disable()  # the objects of every test before this one are not what is measured
    try:
        for _ in range(3):
            began = time.process_time()
            page = lay_out(spans, path, 60.0)._repr_html_()
            took.append(time.process_time() - began)
    finally:
        gc.enable()
    assert min(took) < 0.2 * 5, "0.2 s on an idle core; five times that on a slow and busy one"
    assert len(page) < 300_000
    Page(page)
