"""The HTML of an explanation: well formed, complete, and free of anything a notebook's theme would fight."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import dspy

import reasonflow as rf


class Page(HTMLParser):
    """The rows of the table as lists of texts; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.spans: list[int] = []
        """Columns that each row fills."""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.spans.append(0)
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.spans[-1] += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "tr" in self.open:
            self.rows[-1][-1] += data


class Loops(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: Any) -> Any:
        return rf.loop(lambda state: self.solve(problem=state.text), self.solve(problem=problem), max_rounds=3)


def test_a_plan_is_two_rows_a_step_without_figures() -> None:
    page = Page(rf.PDR(widths=(4, 2)).explain()._repr_html_())
    assert page.rows[0] == ["draft × 4"]
    assert "the whole prompt shared" in page.rows[1][0]
    assert set(page.spans) == {1}


def test_a_run_puts_figures_beside_its_steps_and_fills_every_row() -> None:
    with dspy.context(lm=rf.scripted("the last number is 5")):
        run = Loops()(problem="<b>p</b>").run
    page = Page(run._repr_html_())
    head, *steps = page.rows
    assert head[:3] == ["step", "samples", "computed"]
    assert set(page.spans) == {len(head)}
    [loop] = [row for row in steps if row[0] == "loop/solve"]
    assert loop[head.index("samples")] == "3"
    assert loop[head.index("generated")] == f"{sum(span.output_tokens for span in run.spans[1:]):,}"
    assert run._repr_html_().count("repaired:") == 1


def test_nested_steps_stand_beside_a_line_for_each_level() -> None:
    rows = Loops().explain()._repr_html_().split("<tr")
    [first] = [row for row in rows if ">solve</div>" in row and "wbr" not in row]
    [inner] = [row for row in rows if "loop/<wbr>solve" in row]
    assert (first.count("border-left"), inner.count("border-left")) == (0, 1)


def test_themes_keep_their_colours_and_nothing_runs() -> None:
    with dspy.context(lm=rf.scripted("the last number is 5")):
        page = Loops()(problem="p").run._repr_html_()
    assert "<script" not in page
    assert "<style" not in page
    assert not re.search(r"(?<![-\w])color:", page)
    assert "http" not in page


def test_names_and_notes_are_escaped() -> None:
    explanation = Loops().explain().measured({}, {"a": "<i>"}, ("x: <b>&",), ("y: </div>",))
    page = explanation._repr_html_()
    Page(page)
    assert "&lt;b&gt;&amp;" in page
    assert "&lt;i&gt;" in page
