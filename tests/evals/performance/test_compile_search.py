"""The benchmark of the topology search, on an engine that is a function."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.performance.compile_search import CompileSearch, Sizes, measure_compile, paired
from reasonflow.evals.performance.shared_trials import SharedTrials
from reasonflow.optimizers.topology.search import TopologySearch
from reasonflow.optimizers.topology.space import current, space_of
from reasonflow.optimizers.topology.tuning import Tuning
from reasonflow.optimizers.trial_record import recorded
from reasonflow.optimizers.trial_runs import Runs
from reasonflow.plan.budget import Budget
from reasonflow.runtime.ledger import Ledger
from reasonflow.runtime.price import FREE_OF_CHARGE
from tests.optimizers.scripted_votes import examples, right_by

CALLS = 260


def answer(prompt: str, seed: int, index: int) -> str:
    """A number that is right now and then; graders name the first two."""
    return "1, 2" if "Judge how sound" in prompt else rf"it is \boxed{{{(seed + index) % 7}}}"


@pytest.fixture(scope="module")
def measured() -> CompileSearch:
    program = rf.PDR.searched(widths=(2,), search=("widths", "distiller"))
    grid = [{"widths": (2,), "distiller": "summary"}, {"widths": (4,), "distiller": "top_k"}]
    sizes = Sizes(problems=8, others=4, calls=CALLS, seeds=2)
    return measure_compile(rf.scripted(answer), sizes, program=program, grid=grid)


def test_every_arm_stays_within_its_calls_and_the_engine_makes_each_once(measured: CompileSearch) -> None:
    assert [(each.arm, each.seed) for each in measured.found] == [
        (arm, seed) for seed in range(2) for arm in ("search", "random", "raced")
    ]
    assert all(0 < each.calls <= CALLS for each in measured.found)
    assert measured.engine_calls < sum(each.calls for each in measured.found)


def test_the_report_says_what_it_compares(measured: CompileSearch) -> None:
    figures = measured.report().to_json()["figures"]
    for other in ("random", "raced"):
        ours, theirs = figures["search_hypervolume"], figures[f"{other}_hypervolume"]
        assert figures[f"hypervolume_over_{other}"] == pytest.approx(ours - theirs, abs=2e-4)
        assert figures[f"hypervolume_over_{other}_low"] <= figures[f"hypervolume_over_{other}"]
    assert figures["grid_points_dominating"] == sum(measured.dominating())
    assert measured.report().to_json()["reference"]["accuracy"] == 0.0
    assert {point.trial for point in measured.grid} == {0}
    assert len(measured.again) >= 1


def test_a_search_pays_what_it_would_pay_alone() -> None:
    """The same search by the shared trials, which others have filled before, and by runs of its own."""
    program = rf.PDR.searched(widths=(2,), search=("widths",))
    space, problems, budget = space_of(program), examples(8), Budget(calls=200)
    begin = current(program, space)

    async def alone() -> Tuning:
        lm = rf.scripted(right_by(0.5))
        with dspy.context(lm=lm), recorded(None, {}) as record:
            runs = Runs(
                examples=problems,
                metric=rf.math_equal,
                lm=lm,
                seed=0,
                ledger=Ledger(budget),
                price=FREE_OF_CHARGE,
                record=record,
                concurrency=1,
            )
            return await tuned(runs)

    async def shared() -> Tuning:
        lm = rf.scripted(right_by(0.5))
        with dspy.context(lm=lm):
            trials = SharedTrials(program, space, problems, rf.math_equal, lm, seed=0)
            for settings in space.all():
                await trials.outcomes(settings, range(8))
            made = trials.spent.calls
            found = await tuned(trials.charged(budget))
            assert trials.spent.calls == made, "nothing was made twice"
            return found

    async def tuned(runs: Runs) -> Tuning:
        search = TopologySearch(space, seed=1, first=[begin])
        tuning = Tuning(program, search, runs, trusted=True, on_step=lambda step: None)
        await tuning.run()
        tuning.front()
        return tuning

    ours, theirs = anyio.run(shared), anyio.run(alone)
    assert ours.runs.ledger.spent.calls == theirs.runs.ledger.spent.calls > 0
    assert ours.runs.ledger.spent.total == theirs.runs.ledger.spent.total
    assert ours.history == theirs.history
    assert ours.whole == theirs.whole


def test_a_pair_of_equal_differences_has_a_narrow_interval() -> None:
    assert paired([3.0, 4.0, 5.0], [1.0, 2.0, 3.0]) == (2.0, 2.0, 2.0)
    mean, low, high = paired([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5)
    assert mean == 3.0
    assert high - mean == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-5)
    assert mean - low == pytest.approx(high - mean)


def test_only_mixes_of_graphmath_are_searched_on() -> None:
    with pytest.raises(InputError, match="no mix of graphmath"):
        measure_compile(rf.scripted(answer), Sizes(), benchmark="gsm8k")
    with pytest.raises(InputError, match="no mix of graphmath"):
        measure_compile(rf.scripted(answer), Sizes(), benchmark="graphmath:noise,split=test")


def test_a_second_session_makes_no_call_anew(tmp_path: Path) -> None:
    program = rf.PDR.searched(widths=(2,), search=("widths", "distiller"))
    space, file = space_of(program), tmp_path / "calls.sqlite"
    begin = current(program, space)

    async def session(count: int, asked: list[int]) -> tuple[list[Any], int]:
        def counting(prompt: str, seed: int, index: int) -> str:
            asked.append(seed)
            return answer(prompt, seed, index)

        lm = rf.scripted(counting)
        with dspy.context(lm=lm):
            trials = SharedTrials(program, space, examples(count), rf.math_equal, lm, seed=0, file=file)
            found = await trials.outcomes(begin, range(count))
            spent = trials.spent.calls
            trials.close()
            return found, spent

    first, again = list[int](), list[int]()
    before = anyio.run(session, 4, first)
    assert anyio.run(session, 4, again) == before
    assert first
    assert not again
    with pytest.raises(InputError, match="another compile"):
        anyio.run(session, 3, again)
