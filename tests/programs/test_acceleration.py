"""Token latency, acceleration and reward of threaded trajectories: golden values and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.programs.acceleration import TokenCost, advantages, cost, reward, sequential, side_by_side
from reasonflow.programs.trajectories import MULTIVERSE, parse

GOLDEN = sequential(10) + sequential(4) + side_by_side([sequential(30), sequential(50)])


def test_golden_values() -> None:
    assert TokenCost(longest=64, total=94) == GOLDEN
    assert GOLDEN.acceleration == pytest.approx(0.319149, abs=1e-6)
    assert GOLDEN.self_parallelism == 1.46875
    paper = reward(correct=True, acceleration=GOLDEN.acceleration, form="paper")
    assert paper - 1 == pytest.approx(0.159574, abs=1e-6)
    assert reward(correct=True, acceleration=GOLDEN.acceleration) - 1 == pytest.approx(0.1)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_a_wrong_answer_earns_nothing_and_the_bonus_is_capped(form: str) -> None:
    assert reward(correct=False, acceleration=0.9, form=form) == 0  # type: ignore[arg-type]
    cap = {"paper": 0.2, "code": 0.1}[form]
    assert reward(correct=True, acceleration=1.0, form=form) == pytest.approx(1 + cap)  # type: ignore[arg-type]


def test_a_ratio_is_a_share() -> None:
    with pytest.raises(InputError, match="an acceleration ratio"):
        reward(correct=True, acceleration=1.5)


def test_tags_outlines_and_conclusion_are_sequential_and_the_longest_thread_counts() -> None:
    text = (
        "aa<Parallel><Outlines><Outline>1: x</Outline><Outline>2: y</Outline></Outlines>"
        "<Thread>1:bb</Thread><Thread>2:cccc</Thread></Parallel>d"
    )
    spent = cost(parse(text, strict=True), len)
    assert spent.total == len(text)
    assert spent.longest == len(text) - len("1:bb")


def test_a_block_inside_a_thread_shortens_it() -> None:
    plan = "<Goal><Outline>1: x</Outline><Outline>2: y</Outline></Goal>"
    inner = f"<Parallel>{plan}<Path>1:aa</Path><Path>2:b</Path></Parallel>"
    text = f"<Parallel><Goal><Outline>1: o</Outline></Goal><Path>1: x{inner}z</Path></Parallel>"
    spent = cost(parse(text, MULTIVERSE, strict=True), len)
    assert spent == TokenCost(longest=len(text) - len("2:b"), total=len(text))


@given(
    st.lists(st.sampled_from(["<Parallel>", "<Outlines>", "<Outline>1: a</Outline>", "<Thread>1:", "</Thread>", "x"]))
)
def test_no_token_is_lost_or_counted_twice(pieces: list[str]) -> None:
    text = "".join(pieces)
    spent = cost(parse(text), len)
    assert spent.total == len(text)
    assert spent.longest <= spent.total


def test_advantages_are_not_divided_by_the_deviation() -> None:
    assert advantages([1.1, 1.0, 1.0, 1.1]) == pytest.approx((0.05, -0.05, -0.05, 0.05))
    assert advantages([]) == ()
