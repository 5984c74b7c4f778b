"""How long searches wait, on a graph whose every second is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reasonflow.cli.bench import app
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.evidence import Evidence, Step
from reasonflow.evals.performance.search import ARMS, MODEL_S, RETRIEVER_S, Gold, gold_of, measure_search

STEPS = (
    Step(id="1", question="capital of Ardle", answer="Brin"),
    Step(id="2", question="capital of Corm", answer="Dole"),
    Step(id="3", question="river of #1", answer="Tay", depends_on=("1",)),
    Step(id="4", question="which is longer, #3 or the Esk", answer="Tay", depends_on=("3", "2")),
)
PROBLEM = Problem(id="p", inputs={"question": "Which?"}, answer="Tay", kind="text", evidence=Evidence(steps=STEPS))


def test_gold_queries_have_their_answers_in_them() -> None:
    gold = gold_of(PROBLEM)
    assert gold.queries[2:] == ("river of Brin", "which is longer, Tay or the Esk")
    assert gold.needs == ((), (), (0,), (2, 1))
    assert gold.levels == [["capital of Ardle", "capital of Corm"], ["river of Brin"], [gold.queries[3]]]


def test_the_longest_way_goes_through_what_is_needed() -> None:
    gold = Gold(question="q", queries=("a", "b", "c"), answers=("", "", ""), needs=((), (), (0,)))
    assert gold.longest({"a": 1.0, "b": 5.0, "c": 2.0}.__getitem__) == 5.0
    assert gold.longest({"a": 1.0, "b": 2.0, "c": 2.0}.__getitem__) == 3.0


def test_what_each_arm_adds() -> None:
    found = measure_search([PROBLEM])
    way = 3 * (RETRIEVER_S + MODEL_S) + MODEL_S
    assert found.longest == [pytest.approx(way)]
    mean = {arm: found.ratios(arm)[0] for arm in ARMS}
    assert mean["planned"] < 1.25
    assert mean["one query a turn"] > 4 * RETRIEVER_S / way
    assert mean["one query a turn"] > mean["turns"]


def test_equal_questions_of_a_decomposition_are_told_apart() -> None:
    steps = (STEPS[0], Step(id="2", question="capital of Ardle", answer="Brin"))
    gold = gold_of(Problem(id="p", inputs={"question": "?"}, answer="", evidence=Evidence(steps=steps)))
    assert len(set(gold.queries)) == 2


def test_without_a_decomposition_there_is_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="no question has a decomposition"):
        measure_search([Problem(id="p", inputs={"question": "?"}, answer="")])


def test_the_command(tmp_path: Path) -> None:
    row = {
        "id": "m", "question": "Where was the author born?", "answers": ["Corm"],
        "passages": [{"title": "T", "text": "t", "supporting": True}],
        "decomposition": [
            {"question": "Who wrote it?", "answer": "Ada", "support_idx": 0},
            {"question": "#1 >> place of birth", "answer": "Corm", "support_idx": 0},
        ],
    }  # fmt: skip
    data = tmp_path / "musique.jsonl"
    data.write_text(json.dumps(row) + "\n")
    done = CliRunner().invoke(app, ["search", "--benchmark", "musique", "--data", str(data), "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["figures"]
    assert {"planned_over_critical_path", "turns_s", "one_query_a_turn_s", "lock_step_s"} <= set(figures)
