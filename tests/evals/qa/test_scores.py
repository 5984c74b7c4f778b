"""All figures of an answer, of samples, and their means with intervals."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.evidence import Evidence, Passage
from reasonflow.evals.qa.scores import measure, measure_all, summarise
from reasonflow.evals.qa.search import Query, Search
from reasonflow.evals.samples import Sample

PARK = Problem(
    id="park",
    inputs={"question": "Who?"},
    answer="Nick Park",
    aliases=("Park",),
    kind="text",
    evidence=Evidence(
        titles=("Nick Park", "Gromit"), passages=(Passage(title="Gromit", text="A dog.", supporting=True),)
    ),
)
FILMS = Problem(
    id="films",
    inputs={"question": "Which?"},
    answer='{"Avatar": "Cameron"}',
    kind="listed",
    grading={"answers": [{"Avatar": "Cameron"}]},
)
SEARCH = Search(
    turns=(
        (Query(text="a", titles=("Gromit", "X"), texts=("A dog.", "x")), Query(text="b", titles=("X",))),
        (Query(text="c", titles=("Y", "gromit")),),
        (),
    ),
    tokens=700,
)


def sample(problem: Problem, answer: str | None, number: int = 0) -> Sample:
    return Sample(id=problem.id, sample=number, seed=0, answer=answer, expected=problem.answer, correct=False)


def test_a_search_counts_its_queries_and_its_turns() -> None:
    assert SEARCH.calls == 3
    assert SEARCH.rankings == (("Gromit", "X"), ("X",), ("Y", "gromit"))
    assert SEARCH.titles == ("Gromit", "X", "Y", "gromit")
    assert SEARCH.texts == ("A dog.", "x")


def test_the_figures_of_an_answer_in_words() -> None:
    assert measure(PARK, "the Park") == {
        "em": 1,
        "f1": 1,
        "contains": 1,
        "hds_em": 0,
        "hds_f1": 0.5,  # the, park; nick, park
        "hds_contains": 0,
    }
    assert set(measure(PARK, None).values()) == {0}


def test_the_figures_of_a_structured_answer() -> None:
    figures = measure(FILMS, "Avatar by Cameron")
    assert (figures["loose"], figures["strict"]) == (1, 1)
    assert figures["hds_f1"] == pytest.approx(2 * 2 / (3 + 2))
    half = measure(FILMS, "Avatar")
    assert (half["loose"], half["strict"], half["em"]) == (0.5, 0, 0)


def test_the_figures_of_a_search() -> None:
    figures = measure(PARK, "Nick Park", SEARCH)
    assert (figures["calls"], figures["turns"], figures["tokens"]) == (3, 3, 700)
    assert (figures["coverage"], figures["passage_coverage"]) == (0.5, 1)
    assert figures["auc_at"] == pytest.approx(80)
    assert figures["auc_ac"] == pytest.approx(100 * 14 / 15)
    assert figures["auc_al"] == pytest.approx(500 * 100 * 4 / 5)
    assert "coverage" not in measure(FILMS, "Avatar", SEARCH), "nothing is annotated there"


def test_samples_are_measured_by_problem() -> None:
    samples = [sample(FILMS, "Avatar"), sample(PARK, "Park"), sample(PARK, None, 1)]
    measured = measure_all([PARK, FILMS], samples, {("park", 1): SEARCH})
    assert [[figures["contains"] for figures in each] for each in measured] == [[1, 0], [0]]
    assert ["calls" in figures for figures in measured[0]] == [False, True]
    with pytest.raises(InputError, match="no problem 'films'"):
        measure_all([PARK], samples)


def test_means_are_over_problems_and_have_intervals() -> None:
    figures = [[{"em": 1.0}, {"em": 0.0}], [{"em": 1.0}], []]
    found = summarise(figures)["em"]
    assert found.value == 0.75
    assert 0.5 <= found.low < found.value < found.high <= 1
    assert summarise(figures) == summarise(figures)
    # One yes or no a problem has Wilson's interval, which no resampling of equal values could give.
    alone = summarise([[{"em": 1.0}], [{"em": 1.0}]])["em"]
    assert (alone.value, alone.high) == (1, 1)
    assert 0.3 < alone.low < 0.4


def test_counts_are_no_trials_and_figures_that_lack_are_left_out() -> None:
    found = summarise([[{"calls": 1.0}], [{"em": 0.0, "calls": 1.0}], [{"em": 1.0}]])
    assert (found["calls"].value, found["calls"].low, found["calls"].high) == (1, 1, 1)
    assert found["em"].value == 0.5
    assert summarise([]) == {}
