"""How much of the evidence was retrieved: worked by hand, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.evidence import Evidence, Passage, Step
from reasonflow.evals.qa.coverage import (
    evidence_coverage,
    mean_by_hop,
    passage_coverage,
    recall_at,
    recall_by_hop,
    title_key,
)

TITLES = st.lists(st.sampled_from("abcdef"), max_size=6)
TWO = Evidence(titles=("Nick Park", "Creature Comforts"))


def test_spellings_of_one_title() -> None:
    assert title_key("Nick_Park") == title_key(" nick  park") == "nick park"
    assert title_key("Skarsga\u030ard") == title_key("Skarsgård")
    assert title_key("\uff21vatar") == title_key("Avatar"), "full width"
    assert title_key("Avatar (film)") != title_key("Avatar")


def test_coverage_is_the_share_of_the_titles() -> None:
    assert evidence_coverage(["Wallace", "nick_park", "Nick Park"], TWO) == 0.5
    assert evidence_coverage(["Creature Comforts", "Nick Park"], TWO) == 1
    assert evidence_coverage([], TWO) == 0
    assert evidence_coverage(["Nick Park"], Evidence()) is None


def test_a_passage_is_covered_by_a_text_that_holds_all_of_it() -> None:
    evidence = Evidence(
        passages=(
            Passage(title="Park", text="He made  it.", supporting=True),
            Passage(title="Park", text="In 1989.", supporting=True),
            Passage(title="Other", text="No."),
        )
    )
    assert passage_coverage(["Nick Park: he made it. Then", "1989"], evidence) == 0.5
    assert passage_coverage(["No."], evidence) == 0
    assert passage_coverage(["He made"], Evidence()) is None


def test_recall_looks_at_the_first_k_only() -> None:
    ranking = ["Wallace", "Nick Park", "Gromit", "Creature Comforts"]
    assert [recall_at(ranking, TWO.titles, k) for k in (1, 2, 3, 4, 9)] == [0, 0.5, 0.5, 1, 1]
    assert recall_at(ranking, [], 3) is None


def test_recall_by_hop_takes_the_best_search_of_each_hop() -> None:
    evidence = Evidence(
        titles=("A", "B", "C"),
        steps=(
            Step(id="1", question="?", answer="", titles=("A",)),
            Step(id="2", question="?", answer="", titles=("B", "C")),
            Step(id="3", question="?", answer=""),
        ),
    )
    assert recall_by_hop([["x", "a"], ["c", "x", "b"]], evidence, 2) == (1, 0.5)
    assert recall_by_hop([["x", "a"], ["c", "x", "b"]], evidence, 1) == (0, 0.5)
    assert recall_by_hop([], evidence, 1) == (0, 0)


def test_hops_are_titles_where_the_steps_do_not_name_every_one() -> None:
    step = Step(id="1", question="?", answer="", titles=("A",))
    assert Evidence(titles=("A", "B"), steps=(step,)).by_hop == (("A",), ("B",))
    assert recall_by_hop([["b"]], Evidence(titles=("A", "B"), steps=(step,)), 1) == (0, 1)


def test_problems_of_fewer_hops_are_left_out_of_the_later_ones() -> None:
    assert mean_by_hop([(1, 0), (0,), (1, 0.5, 1)]) == (pytest.approx(2 / 3), 0.25, 1)
    assert mean_by_hop([]) == ()


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_one_or_more(k: int) -> None:
    with pytest.raises(InputError, match=f"k={k}"):
        recall_at(["A"], ["A"], k)
    with pytest.raises(InputError, match=f"k={k}"):
        recall_by_hop([["A"]], TWO, k)


@given(ranking=TITLES, wanted=TITLES.filter(bool), k=st.integers(1, 6))
def test_recall_is_a_share_that_grows_with_k_up_to_coverage(ranking: list[str], wanted: list[str], k: int) -> None:
    evidence = Evidence(titles=tuple(dict.fromkeys(wanted)))
    at_k, next_k = recall_at(ranking, wanted, k), recall_at(ranking, wanted, k + 1)
    covered = evidence_coverage(ranking, evidence)
    assert at_k is not None
    assert next_k is not None
    assert covered is not None
    assert 0 <= at_k <= next_k <= covered <= 1
    hops = recall_by_hop([ranking], evidence, k)
    assert sum(hops) / len(hops) == pytest.approx(at_k)
