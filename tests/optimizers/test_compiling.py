"""rf.compile on scripted engines: the front, the budget, the record, and what is refused before anything is spent."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError, UnknownName
from reasonflow.optimizers.front import Front
from reasonflow.optimizers.topology.tuning import Step
from tests.optimizers.scripted_votes import Vote, examples, right_by

PLENTY = rf.Budget(calls=5_000)


def compiled(budget: rf.Budget = PLENTY, *, program: Any = None, share: float = 0.45, **options: Any) -> Any:
    asked: list[str] = []
    lm = rf.scripted(right_by(share, asked), max_tokens=32)
    made = rf.compile(program or Vote(), examples(32), rf.math_equal, budget=budget, lm=lm, **options)
    made.asked = len(asked)
    return made


def test_gates_beside_others_are_left_out_of_a_program_without_any(capsys: pytest.CaptureFixture[str]) -> None:
    program = compiled(optimize=("topology", "gates"), show_progress=True)
    assert "Vote has no gates" in capsys.readouterr().err
    assert program.compile_report["optimize"] == ["topology"]
    assert program.compile_report["data"]["measured"]["examples"] == 32


def test_a_wider_vote_is_found_to_be_better_and_dearer() -> None:
    program = compiled()
    front = program.front
    assert int(program.n) == 16
    assert [point.settings["n"] for point in front.points][-1] == 16
    assert [point.accuracy for point in front.points] == sorted(point.accuracy for point in front.points)
    assert front.points[0].total < front.points[-1].total / 8
    assert all(point.low <= point.accuracy <= point.high and point.problems == 32 for point in front.points)


def test_the_given_program_is_left_as_it_is() -> None:
    program = Vote(2)
    assert int(compiled(program=program).n) != 2
    assert int(program.n) == 2
    with pytest.raises(InputError, match="no front"):
        program.front


def test_what_two_settings_have_in_common_is_asked_once() -> None:
    program = compiled()
    assert program.asked == 32 * 16, "the samples of the narrower votes are the first ones of the widest"
    assert program.compile_report["spent"]["calls"] == program.asked


@pytest.mark.parametrize("limits", [{"calls": 100}, {"calls": 333}, {"total": 9_000}, {"total": 20_000}])
def test_the_budget_is_never_exceeded(limits: dict[str, int]) -> None:
    program = compiled(rf.Budget(**limits))
    spent = program.compile_report["spent"]
    assert program.asked <= spent["calls"]
    assert all(spent[name] <= limit for name, limit in limits.items())
    assert program.compile_report["stopped"] != "every setting was tried"


def test_equal_seeds_give_equal_fronts() -> None:
    first, second = compiled(rf.Budget(calls=300), seed=7), compiled(rf.Budget(calls=300), seed=7)
    assert first.front == second.front
    assert [t["settings"] for t in first.compile_report["trials"]] == [
        t["settings"] for t in second.compile_report["trials"]
    ]


def test_a_bad_setting_is_given_up_before_it_has_cost_much() -> None:
    class Spoilt(rf.Program):
        """The longer it thinks, the worse it gets."""

        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")
            self.rounds = rf.Choice(1, options=[1, 6])

        def plan(self, problem: Any) -> Any:
            found = self.solve(problem=problem)
            for _ in range(self.rounds - 1):
                found = self.solve(problem=rf.call(lambda text, last: f"{text} Not {last}.", problem, found.answer))
            return rf.answer(found)

    def answer(prompt: str, seed: int, index: int) -> str:
        return r"\boxed{0}" if "Not" in prompt else right_by(1.0)(prompt, seed, index)

    steps: list[Step] = []
    program = rf.compile(
        Spoilt(), examples(64), rf.math_equal, budget=PLENTY, lm=rf.scripted(answer), on_step=steps.append
    )
    last = steps[-1]
    assert (last.state, last.trial.settings) == ("dropped", {"rounds": 6})
    assert last.done == 8
    assert "dominated by trial 0" in last.reason
    assert int(program.rounds) == 1
    assert [point.settings for point in program.front.points] == [{"rounds": 1}]


def test_the_artifact_keeps_what_was_found(tmp_path: Path) -> None:
    lm = rf.scripted(right_by(0.45))
    program = rf.compile(
        rf.SelfConsistency(n=2), examples(16), rf.math_equal, budget=rf.Budget(calls=600), lm=lm, out=tmp_path
    )
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["self_consistency.json"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = rf.load(tmp_path / "self_consistency.json")
    assert int(loaded.n) == int(program.n)
    assert loaded.front == program.front
    assert loaded.compile_report is not None
    assert loaded.compile_report["model"]["model"] == "scripted"
    assert loaded.compile_report["spent"]["calls"] <= 600


def test_the_same_call_again_runs_nothing(tmp_path: Path) -> None:
    first = compiled(rf.Budget(calls=400), out=tmp_path, program=rf.SelfConsistency(n=2))
    again = compiled(rf.Budget(calls=400), out=tmp_path, program=rf.SelfConsistency(n=2))
    assert first.asked > 0
    assert again.asked == 0
    assert again.front == first.front
    with pytest.raises(InputError, match="another compile"):
        compiled(rf.Budget(calls=400), out=tmp_path, program=rf.SelfConsistency(n=2), seed=1)


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    first = compiled(rf.Budget(calls=150), out=tmp_path, program=rf.SelfConsistency(n=2))
    more = compiled(rf.Budget(calls=2_000), out=tmp_path, program=rf.SelfConsistency(n=2))
    whole = compiled(rf.Budget(calls=2_000), program=rf.SelfConsistency(n=2))
    assert first.asked + more.asked == whole.asked == more.compile_report["spent"]["calls"]
    assert {p.settings["n"] for p in more.front.points} == {p.settings["n"] for p in whole.front.points}


def test_objectives_choose_different_points() -> None:
    cheap = compiled(objective="total", share=0.8)
    assert int(cheap.n) < 16
    best = cheap.front.best("accuracy")
    assert cheap.front.best("total").high >= best.accuracy


# Refused before anything is spent ------------------------------------------------------------------------------------


def nothing_spent(**options: Any) -> Any:
    """What is raised by a compile that must not ask the engine for anything."""
    asked: list[str] = []
    arguments: dict[str, Any] = {
        "program": Vote(), "trainset": examples(16), "metric": rf.math_equal, "budget": PLENTY,
        "lm": rf.scripted(right_by(0.5, asked)), **options,
    }  # fmt: skip
    with pytest.raises(InputError) as raised:
        rf.compile(**arguments)
    assert not asked
    return str(raised.value)


def raising(example: Any, prediction: Any) -> float:
    raise RuntimeError("the metric's own")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": raising}, "the metric raised RuntimeError"),
        ({"metric": lambda example, prediction: None}, "the metric gave None"),
        ({"trainset": []}, "trainset is empty"),
        ({"valset": []}, "valset is empty"),
        ({"trainset": [*examples(4), *examples(2)]}, "examples 0 and 4 of trainset"),
        ({"valset": examples(3)}, "example 0 of valset stands in trainset"),
        ({"trainset": [dspy.Example(problem="1", answer="1")]}, "does not say what its inputs are"),
        ({"budget": rf.Budget(calls=15)}, "one evaluation takes up to 16 calls"),
        ({"budget": rf.Budget(total=100)}, "tokens at least"),
        ({"budget": rf.Budget()}, "needs a budget"),
        ({"budget": rf.Budget(sequential=100)}, "sequential"),
        ({"program": Vote(rf.Choice(4))}, "has nothing to tune"),
        ({"optimize": ("gates",)}, "Vote has no gates to calibrate"),
        ({"optimize": ("weather",)}, "weather"),
        ({"objective": "speed"}, "speed"),
        ({"lm": None}, "no language model"),
    ],
)
def test_bad_input_costs_nothing(options: dict[str, Any], words: str) -> None:
    assert words in nothing_spent(**options)


def test_a_constant_metric_stops_it_after_the_first_block() -> None:
    asked: list[str] = []
    with pytest.raises(InputError, match="gave 1 for each of the first 8 examples"):
        rf.compile(
            Vote(), examples(32), lambda example, prediction: 1.0, budget=PLENTY, lm=rf.scripted(right_by(0.5, asked))
        )
    assert len(asked) <= 8 * 16


def test_a_first_block_without_an_answer_is_no_constant_metric() -> None:
    program = compiled(share=0.0, budget=rf.Budget(calls=400))
    assert program.front.points[0].accuracy == 0.0


def test_a_metric_that_fails_on_predictions_only_is_an_error_of_the_first_block() -> None:
    def metric(example: Any, prediction: Any) -> bool:
        raise AttributeError("no such field")

    with pytest.raises(InputError, match="the metric raised AttributeError"):
        rf.compile(Vote(), examples(16), metric, budget=PLENTY, lm=rf.scripted(right_by(0.5)))


def test_no_whole_setting_is_an_error_that_says_so() -> None:
    with pytest.raises(BudgetExceeded, match="no setting was measured"):
        compiled(rf.Budget(seconds=0.000_001))


def test_it_works_where_a_loop_is_running() -> None:
    async def notebook() -> Any:
        return compiled(rf.Budget(calls=200))

    assert anyio.run(notebook).front.points


def test_a_front_picks_within_limits_and_is_drawn(tmp_path: Path) -> None:
    front = compiled().front
    cheapest = front.points[0]
    assert front.pick(total=cheapest.total) == cheapest
    assert front.pick(sequential=10**6) == front.best()
    with pytest.raises(InputError, match="the least there is"):
        front.pick(total=1)
    with pytest.raises(UnknownName):
        front.best("speed")
    assert Front.from_json(front.to_json()) == front
    pytest.importorskip("matplotlib")
    front.plot(tmp_path / "front.svg")
    assert "n=16" in (tmp_path / "front.svg").read_text()
    with pytest.raises(InputError, match="no picture"):
        front.plot(tmp_path / "front.txt")
