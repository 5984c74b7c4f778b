"""The transfer report: a compiled program on unseen problems, against the one it came from and against votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.statistics import Interval
from reasonflow.evals.transfer.running import FILE
from reasonflow.evals.transfer.table import lines, verdict
from reasonflow.gates.scores import VoteShare
from tests.optimizers.gated_votes import Guarded
from tests.optimizers.scripted_votes import Vote, examples, right_by


def scripted(share: float = 0.45, asked: list[str] | None = None) -> dspy.LM:
    return rf.scripted(right_by(share, asked), max_tokens=32)


async def report(compiled: Any, before: Any, count: int = 40, **options: Any) -> Any:
    arguments: dict[str, Any] = {"lm": scripted(), "show_progress": False, **options}
    return await rf.transfer(compiled, before, examples(500)[460 - count :][:count], rf.math_equal, **arguments)


@pytest.mark.anyio
async def test_a_wider_vote_is_better_and_dearer_and_no_better_than_itself() -> None:
    found = await report(Vote(rf.Choice(8)), Vote(rf.Choice(1)), count=80)
    assert found.problems == 80
    assert found.difference.low > 0
    assert found.calls.baseline == 1
    assert found.calls.other == 8
    assert found.comparison.spent["total_tokens"].ratio.value == pytest.approx(8, rel=0.1)
    equal = found.compiled.against["total"]
    assert equal.vote.samples == pytest.approx(8, abs=0.01)
    assert equal.difference.low < 0 < equal.difference.high
    text = str(found)
    assert "compiled against before: better, +" in text
    assert "compiled against the vote at equal total tokens: not told apart" in text
    assert "scripted engine: it shows that everything works together, and nothing of a model" in text
    assert "vote at equal sequential tokens" in text


@pytest.mark.anyio
async def test_the_report_is_recorded_and_goes_on_without_asking_again(tmp_path: Path) -> None:
    asked: list[str] = []
    options: dict[str, Any] = {"lm": scripted(0.45, asked), "out": tmp_path, "line": 4}
    first = await report(Vote(rf.Choice(2)), Vote(rf.Choice(1)), **options)
    count = len(asked)
    assert count == 40 * (2 + 1 + 4)
    again = await report(Vote(rf.Choice(2)), Vote(rf.Choice(1)), **options)
    assert len(asked) == count
    assert again.to_json() == first.to_json() == json.loads((tmp_path / FILE).read_text())
    assert first.to_json()["vote"]["drawn"] == 4
    assert {"before", "compiled", "difference", "calls", "total_tokens", "notes"} <= first.to_json().keys()


@pytest.mark.anyio
async def test_a_vote_that_runs_out_of_samples_is_marked() -> None:
    text = str(await report(Vote(rf.Choice(8)), Vote(rf.Choice(1)), line=2))
    assert "n=2*: " in text
    assert "*: the vote has no more than 2 samples of each problem, and spends less" in text


@pytest.mark.anyio
async def test_without_a_line_there_is_no_vote() -> None:
    found = await report(Vote(rf.Choice(2)), Vote(rf.Choice(1)), line=0)
    assert found.compiled.against == {"total": None, "sequential": None}
    assert found.to_json()["vote"] is None
    assert "vote" not in str(found)


@pytest.mark.anyio
async def test_a_cheaper_program_than_one_sample_has_no_vote_beside_it() -> None:
    class Short(Vote):
        def __init__(self) -> None:
            super().__init__(rf.Choice(1))
            self.solve = rf.Generate("problem -> answer", config={"max_tokens": 1})

    found = await report(Short(), Vote(rf.Choice(1)), line=2)
    assert found.compiled.against["total"] is None
    assert any("one sample of a vote spends more tokens" in line for line in lines(found))


@pytest.mark.anyio
async def test_problems_of_the_compile_are_refused() -> None:
    asked: list[str] = []
    lm = scripted(0.45, asked)
    made = rf.compile(Vote(), examples(16), rf.math_equal, budget=rf.Budget(calls=400), lm=lm)
    count = len(asked)
    with pytest.raises(InputError, match="the compile has used 3 of the 3 problems"):
        await rf.transfer(made, Vote(), examples(3), lm=lm)
    with pytest.raises(InputError, match="no problems to test on"):
        await rf.transfer(made, Vote(), [], lm=lm)
    assert len(asked) == count
    found = await report(made, Vote(), count=12)
    assert not any("does not say what its compile has used" in note for note in found.notes)
    by_hand = await report(Vote(rf.Choice(2)), Vote(), count=12, line=0)
    assert any("does not say what its compile has used" in note for note in by_hand.notes)


@pytest.mark.anyio
async def test_a_program_that_could_not_run_before_lets_nothing_pass() -> None:
    after = Guarded(rf.Choice(2))
    after.gate = rf.Gate(VoteShare(), 0.0)
    found = await report(after, Guarded(rf.Choice(2)), count=10, line=0)
    assert (found.calls.baseline, found.calls.other) == (3, 2)
    assert any("nothing passes its gate there" in note for note in found.notes)


@pytest.mark.parametrize(
    ("ends", "word"), [((0.01, 0.2), "better"), ((-0.2, -0.01), "worse"), ((-0.1, 0.1), "not told apart")]
)
def test_a_difference_is_told_by_its_interval(ends: tuple[float, float], word: str) -> None:
    assert verdict(Interval(sum(ends) / 2, *ends)).startswith(f"{word}, ")
