"""What a run of ThreadWeaver was, and how its repairs are named."""

from __future__ import annotations

from typing import Any

import pytest

from reasonflow.evals.samples import Sample
from reasonflow.evals.suites.findings import Share
from reasonflow.evals.suites.woven import Kept, Woven, form_of, kind_of, numbers, repairs
from reasonflow.programs.acceleration import cost
from reasonflow.programs.trajectories import parse

TWO = "<Parallel>\n<Outlines>\n<Outline>1: a</Outline>\n<Outline>2: b</Outline>\n</Outlines>\n<Thread>\n1: a</Thread>"
WHOLE = f"{TWO}<Thread>\n2: b</Thread>\n</Parallel>\n"


def run(text: str | None, **more: Any) -> Woven:
    sample = Sample(id="p", sample=0, seed=0, answer="1", expected="1", correct=True, **more)
    return Woven(sample, None if text is None else Kept(parse(text), cost(parse(text), len)))


@pytest.mark.parametrize(
    ("repair", "kind"),
    [
        ("read: at character 182: <Thread> is not closed", "<Thread> is not closed"),
        ("loop/join[0]: thread 2.1 was cut at its cap: it is closed", "thread N was cut at its cap: it is closed"),
        ("when#2.otherwise/read: at character 8: outline 6 has no thread", "outline N has no thread"),
        ("loop/fork[3][1]: 3 of 11 outlines are left out: threads=8", "N of N outlines are left out: threads=N"),
        ("trunk: the text was cut at its token cap", "the text was cut at its token cap"),
    ],
)
def test_a_kind_has_neither_place_nor_number(repair: str, kind: str) -> None:
    assert kind_of(repair) == kind


def test_a_run_is_well_formed_where_neither_its_text_nor_its_record_was_repaired() -> None:
    assert run(WHOLE).well_formed
    assert run("no threads here").well_formed
    assert not run(TWO).well_formed
    assert not run(WHOLE, repairs=("loop/fork[0]: 1 of 9 outlines are left out: threads=8",)).well_formed
    assert not run(None).well_formed


def test_width_is_of_the_first_block_with_threads() -> None:
    assert (run(WHOLE).width, run(WHOLE).active) == (2, True)
    assert (run("no threads here").width, run("no threads here").active) == (1, False)
    assert (run(f"<Parallel>\n</Parallel>\n{WHOLE}{TWO}").width, run(None).width) == (2, 1)


def test_means_leave_out_what_did_not_end() -> None:
    found = form_of([run(f"{WHOLE}then\n{WHOLE}"), run("none"), run(None)])
    assert (found.well_formed, found.active) == (Share(2 / 3, 3), Share(1 / 3, 3))
    assert (found.blocks, found.threads) == (2.0, 2.0)
    assert form_of([]).self_parallelism is None


def test_numbers_and_repairs_are_counted_over_all_runs() -> None:
    runs = [run(f"{WHOLE}{WHOLE}", repairs=("a: 1 b", "a[1]: 2 b", "c: d")), run("none", repairs=("e: 3 b",))]
    assert numbers(runs).rows == (
        {"number": 0, "trajectories with so many blocks": 1, "blocks of so many": 0},
        {"number": 2, "trajectories with so many blocks": 1, "blocks of so many": 2},
    )
    assert repairs(runs).rows == (
        {"repair": "N b", "times": 3, "runs": 2},
        {"repair": "d", "times": 1, "runs": 1},
    )
