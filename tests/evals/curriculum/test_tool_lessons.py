"""Lessons in tools are what dspy.ReAct and SpeculativePlanner ask: a perfect agent, the same prompts and steps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from random import Random
from typing import Any, get_args

import dspy
import pytest

pytest.importorskip("tokenizers")

import reasonflow as rf
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.evals.curriculum.embedded import DRAFT, EMBEDDED
from reasonflow.evals.curriculum.planner_prompts import Asked, planner_prompt
from reasonflow.evals.curriculum.search_lessons import Row
from reasonflow.evals.curriculum.tool_lessons import lessons_of, tool_rows
from reasonflow.evals.curriculum.tooling import FINISH, episode, needs_tools
from reasonflow.evals.curriculum.vocabulary import SIZE
from reasonflow.evals.tasks.problems import item, parse_source
from reasonflow.evals.tasks.tools import TOOLS
from reasonflow.gates.scores import TokenProbability
from reasonflow.optimizers.trie_sft.data import Reader
from reasonflow.programs.trajectories import THREADWEAVER

TOKENIZER = HfTokenizer(ModelFiles("embedded"))
SOURCE = parse_source("graphmath:tools")
ITEMS = [item(SOURCE, index) for index in range(24)]


def acts(lessons: Iterable[tuple[Any, str]], problem: str) -> Any:
    """An agent that writes what the lessons teach, one after the other."""
    left = iter(lessons)
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: next(left)[1], window=8192)):
        return dspy.ReAct("problem -> answer", list(TOOLS))(problem=problem)


def test_an_agent_solves_every_problem() -> None:
    for found in ITEMS:
        out = acts(lessons_of(found, episode(found, Random(1))), found.text)
        assert out.answer == str(found.answer)
        steps = episode(found, Random(1)).steps
        assert [out.trajectory[f"observation_{place}"] for place in range(len(steps))] == [s.observation for s in steps]
        assert steps[-1].tool == FINISH


def test_prompts_are_sent_token_by_token_as_they_are_learned(sent: list[tuple[int, ...]]) -> None:
    found = ITEMS[0]
    lessons = list(lessons_of(found, episode(found, Random(1))))
    units = [EMBEDDED.unit(messages, text) for messages, text in lessons]
    acts(lessons, found.text)
    assert sent == [unit.context for unit in units]
    sent.clear()
    planner = rf.SpeculativePlanner(gate=rf.Gate(TokenProbability(), threshold=0.5), agent=rf.ChainOfThought())
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: ({"Yes": 1.0},), window=8192, top_logprobs=20)):
        planner(problem=found.text)
    assert sent[:2] == [TOKENIZER.render(planner_prompt(site, found)) for site in get_args(Asked)]


def test_what_needs_tools_lacks_numbers_or_takes_three_operations() -> None:
    for found in ITEMS:
        operations = sum(bool(quantity.sign) for quantity in found.content.needed)  # type: ignore[union-attr]
        assert needs_tools(found) == ("house" in found.text or operations > 2)
    share = sum(needs_tools(item(SOURCE, index)) for index in range(300)) / 300
    assert 0.3 < share < 0.5


def drawn(count: int, reasoner: Any) -> list[Row]:
    return list(islice(tool_rows(0, reasoner), count))


@pytest.mark.parametrize("reasoner", [EMBEDDED, DRAFT])
def test_rows_are_read_as_tries_and_share_their_instruction(reasoner: Any) -> None:
    reader = Reader(
        tokenizer=TOKENIZER, end=EMBEDDED.stop, vocabulary=SIZE, dialect=THREADWEAVER, longest=40_960, window=8_192
    )
    made = drawn(12, reasoner)
    assert len(reader.read(made).tries) == 12
    for row in made:
        alone = sum(len(unit["context"]) + len(unit["completion"]) for unit in row["units"])
        if "trajectory" in EMBEDDED.decode(row["prompt"]):
            assert len(reader.read([row]).tries[0]) < 0.4 * alone
        assert all(unit["completion"][-1] == EMBEDDED.stop[0] for unit in row["units"])


def test_the_large_model_judges_and_the_small_one_acts_alone() -> None:
    for reasoner, told in ((EMBEDDED, {"Yes", "No"}), (DRAFT, set[str]())):
        texts = {EMBEDDED.decode(unit["completion"][:-1]) for row in drawn(40, reasoner) for unit in row["units"]}
        assert {text for text in texts if "##" not in text} == told


def test_equal_seeds_give_equal_rows() -> None:
    assert drawn(3, EMBEDDED) == drawn(3, EMBEDDED)
    assert drawn(3, EMBEDDED) != list(islice(tool_rows(1, EMBEDDED), 3))
