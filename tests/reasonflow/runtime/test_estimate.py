"""Estimates of programs on the scripted engine: against figures counted by hand, and against what random runs took."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.errors import InputError
from reasonflow.language.program import trace
from reasonflow.plan.bounds import bound, limited
from reasonflow.runtime.estimate import NAMES, Estimate, estimated
from reasonflow.runtime.measured import state_of
from tests.laws.observing import outcome
from tests.laws.random_engines import random_engine
from tests.laws.random_programs import EVERYTHING, Features, random_budget, random_program

TEN = "one two three four five six seven \\boxed{4}"
PROBLEM = {"problem": "2 + 2 = ?"}
CALM = Features(budgets=False, seconds=False, failures=False)


class Made(rf.Program):
    """A program given as a function of itself and its input."""

    def __init__(self, make: Callable[[Any, Any], Any], **config: Any) -> None:
        self.solve = rf.Generate("problem -> answer", **config)
        self.read = rf.Generate("problem, drafts -> answer", **config)
        self.make = make

    def plan(self, problem: Any) -> Any:
        return {"value": self.make(self, problem)}


def one(make: Callable[[Any, Any], Any], **config: Any) -> tuple[Estimate, Any]:
    """The estimate of one call, and what it then took."""
    program = Made(make, **{"temperature": 0.7, "max_tokens": 50, **config})
    with dspy.context(lm=rf.scripted(TEN, window=1000)):
        return program.estimate([PROBLEM]), program(**PROBLEM).run


def ends(estimate: Estimate, name: str) -> tuple[float, float | None]:
    interval = getattr(estimate, name)
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("make", "calls", "outputs"),
    [
        (lambda s, p: s.solve(problem=p), (1, 1), (1, 50)),
        (lambda s, p: s.solve(problem=p, n=4), (4, 4), (4, 200)),
        (lambda s, p: rf.quorum(s.solve(problem=p, n=4), by="answer"), (2, 4), (2, 200)),
        (lambda s, p: rf.quorum(s.solve(problem=p, n=5), by="answer", need=1), (1, 5), (1, 250)),
        (lambda s, p: rf.fork(3, lambda: s.solve(problem=p).answer), (3, 3), (3, 150)),
        (lambda s, p: rf.each(rf.call(list, p), lambda i: s.solve(problem=i).answer, cap=6), (0, 6), (0, 300)),
        (lambda s, p: rf.loop(lambda x: s.solve(problem=x).answer, p, max_rounds=3), (3, 3), (3, 150)),
        (lambda s, p: rf.loop(lambda x: s.solve(problem=x).answer, p, bool, max_rounds=3), (1, 3), (1, 150)),
        (lambda s, p: rf.race(lambda: s.solve(problem=p, n=2), lambda: s.solve(problem=p, n=3)), (2, 5), (2, 250)),
        (lambda s, p: rf.when(rf.call(bool, p), lambda: s.solve(problem=p).answer, lambda: p), (0, 1), (0, 50)),
        (lambda s, p: rf.within(rf.Budget(calls=2), lambda: s.solve(problem=p, n=4)), (0, 2), (0, 200)),
    ],
)  # fmt: skip
def test_the_ends_are_what_the_plan_makes_possible(
    make: Callable[[Any, Any], Any], calls: tuple[int, int], outputs: tuple[int, int]
) -> None:
    estimate, run = one(make)
    assert ends(estimate, "calls") == calls
    assert ends(estimate, "output_tokens") == outputs
    assert calls[0] <= run.usage.calls <= calls[1]


def test_prompts_of_known_inputs_are_counted_as_they_are() -> None:
    estimate, run = one(lambda s, p: s.solve(problem=p, n=4))
    assert ends(estimate, "input_tokens") == (run.usage.input_tokens, run.usage.input_tokens)
    prompt = run.spans[0].input_tokens
    assert ends(estimate, "sequential_tokens") == (prompt + 1, prompt + 50)
    read, run = one(lambda s, p: s.read(problem=p, drafts=s.solve(problem=p).text))
    assert ends(read, "input_tokens")[1] == prompt + 999  # what is generated may fill the window
    assert ends(read, "total_tokens")[1] == prompt + 50 + 1000


def test_constants_lists_and_numbers_of_branches_are_known_too() -> None:
    def make(s: Any, p: Any) -> Any:
        numbered = rf.fork(2, lambda number: s.solve(problem=number).answer)
        listed = rf.each([p, "a longer one of several words"], lambda item: s.solve(problem=item).answer)
        return (numbered, listed)

    estimate, run = one(make)
    assert ends(estimate, "input_tokens") == (run.usage.input_tokens, run.usage.input_tokens)


def test_greedy_samples_are_one() -> None:
    estimate, run = one(lambda s, p: s.solve(problem=p, n=4), temperature=0.0)
    assert ends(estimate, "calls") == (1, 1) == (run.usage.calls,) * 2


def test_nothing_is_likely_before_it_is_measured_unless_it_is_certain() -> None:
    estimate, _ = one(lambda s, p: s.solve(problem=p, n=4))
    assert estimate.calls is not None
    assert estimate.calls.likely == 4
    assert estimate.output_tokens is not None
    assert estimate.output_tokens.likely is None
    assert "no measurement: pass history=" in estimate.reasons["output_tokens"]
    assert estimate.seconds is estimate.dollars is None
    assert "no measurement" in estimate.reasons["seconds"]
    assert "no price is known for 'scripted'" in estimate.reasons["dollars"]


def test_examples_and_samples_add_up_but_along_a_path() -> None:
    program = Made(lambda s, p: s.solve(problem=p, n=4), max_tokens=50)
    examples = [
        dspy.Example(problem="2 + 2 = ?", answer="4").with_inputs("problem"),
        {"problem": "How many primes are there below one hundred?"},
    ]
    with dspy.context(lm=rf.scripted(TEN, window=1000, temperature=1.0)):
        found = program.estimate(examples, samples=3)
    assert [figures.calls.high for figures in found.each if figures.calls] == [4, 4]
    assert ends(found, "calls") == (24, 24)
    one_run = [figures.sequential_tokens for figures in found.each]
    assert ends(found, "sequential_tokens") == (one_run[0].low, one_run[1].high)  # type: ignore[union-attr]


def test_runs_say_what_is_likely_and_how_fast() -> None:
    program = Made(lambda s, p: s.solve(problem=p, n=4), temperature=0.7)
    with dspy.context(lm=rf.scripted(TEN, latency=0.02)):
        run = program(**PROBLEM).run
        found = program.estimate([PROBLEM, PROBLEM], history=[run])
    assert found.output_tokens is not None
    assert found.seconds is not None
    assert found.output_tokens.likely == 2 * run.usage.output_tokens
    assert found.total_tokens is not None
    assert found.total_tokens.likely == 2 * run.usage.total_tokens
    assert found.sequential_tokens is not None
    assert found.sequential_tokens.likely == run.sequential_tokens
    assert found.seconds.likely == pytest.approx(2 * run.wall_s)
    assert any("one run after the other" in note for note in found.notes)


def test_runs_of_other_settings_say_how_long_the_calls_of_a_site_are() -> None:
    few, many = rf.SelfConsistency(n=2), rf.SelfConsistency(n=16)
    with dspy.context(lm=rf.scripted(TEN, temperature=0.7)):
        run = few(**PROBLEM).run
        found = many.estimate([PROBLEM], history=[run])
    assert found.output_tokens is not None
    assert found.output_tokens.likely == 8 * run.usage.output_tokens
    assert found.sequential_tokens is not None
    assert found.sequential_tokens.likely is None
    assert "another plan" in found.reasons["sequential_tokens"]


def test_what_a_history_never_came_to_is_not_likely() -> None:
    program = Made(lambda s, p: rf.loop(lambda x: s.solve(problem=x).answer, p, bool, max_rounds=4), max_tokens=50)
    with dspy.context(lm=rf.scripted(TEN)):
        found = program.estimate([PROBLEM], history=[program(**PROBLEM).run])
    assert found.calls is not None
    assert (found.calls.low, found.calls.likely, found.calls.high) == (1, 1, 4)


def test_a_pickled_run_counts_for_its_own_plan_only() -> None:
    few, many = rf.SelfConsistency(n=2), rf.SelfConsistency(n=16)
    with dspy.context(lm=rf.scripted(TEN, temperature=0.7)):
        run = few(**PROBLEM).run
        again = pickle.loads(pickle.dumps(run))
        assert few.estimate([PROBLEM], history=[again]).figures == few.estimate([PROBLEM], history=[run]).figures
        with pytest.raises(InputError, match="saved without its plan"):
            many.estimate([PROBLEM], history=[again])


def test_a_folder_is_a_history_of_its_own_program(tmp_path: Path) -> None:
    program, other = rf.SelfConsistency(n=2), rf.SelfConsistency(n=4)
    row = {
        "calls": 2, "input_tokens": 70, "output_tokens": 30, "total_tokens": 100, "sequential_tokens": 50,
        "session": 0, "ended_s": 1.5,
    }  # fmt: skip
    rows = [row, {**row, "output_tokens": 60, "total_tokens": 130, "ended_s": 3.0}, {"calls": None}]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows) + '{"half')
    name = f"{type(program).__module__}.{type(program).__qualname__}"
    (tmp_path / "manifest.json").write_text(json.dumps({"program": name, "state": state_of(program)}))
    with dspy.context(lm=rf.scripted(TEN, temperature=0.7)):
        found = program.estimate([PROBLEM], history=[tmp_path])
        assert found.output_tokens is not None
        assert found.output_tokens.likely == 45
        assert found.seconds is not None
        assert found.seconds.likely == pytest.approx(45 / 30)
        with pytest.raises(InputError, match="another program"):
            other.estimate([PROBLEM], history=[tmp_path])
        with pytest.raises(InputError, match="no folder of an evaluation"):
            program.estimate([PROBLEM], history=[tmp_path / "nothing"])


def test_hosted_models_cost_by_the_token_and_engines_by_the_hour() -> None:
    program = Made(lambda s, p: s.solve(problem=p), max_tokens=100)
    with dspy.context(lm=rf.scripted(TEN, model="gpt-4o-mini", window=1000)):
        found = program.estimate([PROBLEM])
    assert found.dollars is not None
    assert found.input_tokens is not None
    prompt = found.input_tokens.low
    assert found.dollars.low == pytest.approx(prompt * 0.15e-6 + 0.6e-6)
    assert found.dollars.high == pytest.approx(prompt * 0.15e-6 + 100 * 0.6e-6)
    assert any("cached prompt tokens are counted at the full price" in note for note in found.notes)


def test_the_hours_of_all_engines_of_a_run_are_paid() -> None:
    program = Made(lambda s, p: s.read(problem=p, drafts=s.solve(problem=p, n=2)))
    dear, cheap = (
        rf.scripted(TEN, model=name, latency=0.05, dollars_per_hour=h) for name, h in (("a", 3.0), ("b", 1.0))
    )
    program.read.lm = cheap
    with dspy.context(lm=dear):
        run = program(**PROBLEM).run
        found = program.estimate([PROBLEM], history=[run])
    assert found.seconds is not None
    assert found.dollars is not None
    assert found.dollars.likely == pytest.approx(found.seconds.likely * 4.0 / 3600)


def test_budgets_limit_the_ends() -> None:
    program = rf.SelfConsistency(n=8)
    program.budget = rf.Budget(total=1000, calls=5)
    with dspy.context(lm=rf.scripted(TEN)):
        found = program.estimate([PROBLEM] * 2)
    assert ends(found, "calls") == (0, 10)
    assert ends(found, "total_tokens") == (0, 2000)
    assert any("may be cut" in note for note in found.notes)


def test_without_a_window_nothing_bounds_what_is_read() -> None:
    with dspy.context(lm=None):
        found = rf.PDR(widths=(4, 2)).estimate([PROBLEM])
    assert ends(found, "calls") == (9, 9)
    assert found.input_tokens is not None
    assert found.input_tokens.high is None
    assert "window is unknown" in found.reasons["input_tokens"]
    assert any("four characters a token" in note for note in found.notes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"examples": []}, "no examples"),
        ({"examples": "2 + 2"}, "one value"),
        ({"examples": [PROBLEM, {}]}, "example 1: SelfConsistency was not given problem"),
        ({"examples": [{"problem": "1", "answr": "2"}]}, "example 0: unknown input of SelfConsistency 'answr'"),
        ({"examples": [dspy.Example(problem="1")]}, "example 0 does not say what its inputs are"),
        ({"examples": [3]}, "example 0: it is a int"),
        ({"examples": [PROBLEM], "samples": 0}, "samples=0"),
        ({"examples": [PROBLEM], "history": [3]}, "history holds int"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], says: str) -> None:
    with dspy.context(lm=rf.scripted(TEN)), pytest.raises(InputError) as error:
        estimated(rf.SelfConsistency(n=2), **arguments)
    assert says in str(error.value)


def test_it_prints_and_is_json() -> None:
    estimate, _ = one(lambda s, p: s.solve(problem=p, n=4))
    text, page, data = str(estimate), estimate._repr_html_(), json.loads(json.dumps(estimate.to_json()))
    assert "estimate of Made on scripted: 1 example × 1 sample" in text
    assert "no measurement" in text
    assert "<table>" in page
    assert data["calls"] == {"low": 4, "likely": 4, "high": 4, "expected": None}
    assert data["seconds"] is None
    assert set(NAMES) < set(data)
    assert len(data["each"]) == 1


def test_nothing_runs_and_no_engine_starts() -> None:
    asked: list[str] = []
    lm = rf.scripted(lambda prompt, seed, index: asked.append(prompt) or TEN)
    with dspy.context(lm=lm):
        rf.PDR(widths=(4, 2)).estimate([PROBLEM] * 5)
    assert asked == []
    assert lm.engine.runtime.backend.running() == 0


@pytest.mark.filterwarnings("ignore:the call sites")
@pytest.mark.parametrize("features", [EVERYTHING, CALM], ids=["everything", "calm"])
def test_no_random_run_takes_more_than_the_high_end_nor_less_than_the_low_one(features: Features) -> None:
    for seed in range(100):
        draw = random.Random(f"estimate {seed}")
        program = random_program(seed, features)
        if features is EVERYTHING and draw.random() < 0.5:
            program.budget = random_budget(draw)
        lm, _ = random_engine(seed)
        try:
            with dspy.context(lm=lm):
                found = program.estimate([{"problem": "How many?"}])
                ended = lm.engine.runtime.run(lambda program=program: outcome(program, problem="How many?"))
                most = bound(lower(trace(program).plan), lm.engine.runtime.backend.window)
        finally:
            lm.engine.close()
        most = most if program.budget is None else limited(most, program.budget)
        run = ended.run
        assert run is not None, f"program {seed}: {ended.error!r}"
        whole = ended.error is None and run.complete and not run.failures and not run.squeezed
        for name in ("calls", "input_tokens", "output_tokens", "total_tokens", "sequential_tokens"):
            interval = getattr(found, name)
            took = run.sequential_tokens if name == "sequential_tokens" else getattr(run.usage, name)
            assert interval.high is not None
            assert took <= interval.high, f"program {seed}: {took} {name}, {interval}"
            assert not whole or took >= interval.low, f"program {seed}: {took} {name}, {interval}"
            assert interval.high <= getattr(most, name, interval.high), f"program {seed}: looser than its bounds"
