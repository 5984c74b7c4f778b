"""Dry runs of evaluations on the scripted engine: what they say, what a pilot adds, and how far off they were."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.dry_run import DryRun, _total, dry_run, pilot_of
from reasonflow.evals.estimate_error import FILE, compared
from reasonflow.evals.report import as_text, summarise
from reasonflow.evals.runner import Evaluation, evaluate
from reasonflow.evals.samples import Sample, read_samples

PROBLEMS = [Problem(id=str(n), inputs={"problem": f"{n} + {n} = ?"}, answer=str(2 * n)) for n in range(10)]


def answer(prompt: str, seed: int | None, index: int) -> str:
    return "word " * random.Random(f"{prompt} {seed}").randrange(3, 60) + "\\boxed{4}"


@pytest.fixture
def lm() -> dspy.LM:
    return rf.scripted(answer, temperature=0.5, window=1000, latency=0.005)


def run(program: dspy.Module, lm: dspy.LM, out: Path, **options: Any) -> Evaluation:
    async def work() -> Evaluation:
        return await evaluate(program, PROBLEMS, lm=lm, out=out, **options)

    return anyio.run(work)


def estimated(lm: dspy.LM, folder: Path | None = None, program: dspy.Module | None = None, **options: Any) -> DryRun:
    return dry_run(program or rf.SelfConsistency(n=4), PROBLEMS, lm=lm, folder=folder, **options)


def test_without_a_record_there_are_only_ends_and_no_folder(lm: dspy.LM, tmp_path: Path) -> None:
    found = estimated(lm, tmp_path / "none", samples=2)
    assert found.estimate.calls is not None
    assert (found.estimate.calls.low, found.estimate.calls.high) == (80, 80)
    assert found.estimate.output_tokens is not None
    assert found.estimate.output_tokens.likely is None
    assert found.request["runs"] == 20
    assert found.done == 0
    assert not (tmp_path / "none").exists()


def test_the_request_is_said_in_words(lm: dspy.LM) -> None:
    found = estimated(
        lm,
        name="self_consistency",
        settings={"n": 4},
        benchmark="sums",
        samples=2,
        seed=3,
        budget=rf.Budget(total=5000),
        overall_budget=rf.Budget(calls=30),
    )
    text = "\n".join(found.lines())
    for part in (
        "self_consistency, n=4", "10 of sums", "2 of each, 20 runs, seed 3; nothing has run", "scripted",
        "temperature=0.5", "of each run: 5,000 total tokens; of all runs: 30 calls",
    ):  # fmt: skip
        assert part in text
    assert found.estimate.calls is not None
    assert found.estimate.calls.high == 30


def test_a_pilot_says_what_is_likely_and_the_run_resumes_from_it(lm: dspy.LM, tmp_path: Path) -> None:
    ids = pilot_of(PROBLEMS, 4, seed=0)
    pilot = run(rf.SelfConsistency(n=4), lm, tmp_path, only=ids)
    assert [sample.id for sample in pilot.samples] == ids
    assert (pilot.planned, pilot.stopped) == (4, "")
    found = estimated(lm, tmp_path)
    assert (found.done, found.mine) == (4, True)
    outputs = found.estimate.output_tokens
    assert outputs is not None
    assert outputs.likely is not None
    assert outputs.expected is not None
    assert outputs.likely == pytest.approx(10 / 4 * sum(s.output_tokens or 0 for s in pilot.samples))
    assert outputs.low < outputs.expected[0] < outputs.likely < outputs.expected[1] < (outputs.high or 0)
    assert found.estimate.seconds is not None
    assert found.estimate.seconds.expected is not None
    found.write(tmp_path)
    whole = run(rf.SelfConsistency(n=4), lm, tmp_path)
    assert (len(whole.samples), whole.resumed) == (10, 4)
    against = compared(tmp_path, whole)
    assert against is not None
    written = sum(sample.output_tokens or 0 for sample in whole.samples)
    assert against["output_tokens"]["actual"] == written
    assert against["output_tokens"]["error_percent"] == pytest.approx(
        100 * (outputs.likely - written) / written, abs=0.01
    )
    assert against["output_tokens"]["inside"] is (outputs.expected[0] <= written <= outputs.expected[1])
    assert against["calls"] | {"kind": ""} == {
        "predicted": 40, "actual": 40, "error_percent": 0.0, "interval": [40, 40], "kind": "", "inside": True,
    }  # fmt: skip
    assert "dollars" not in against
    report = summarise(whole, program="p", benchmark="b", model="m", seed=0, estimate=against)
    assert report.to_json()["estimate"] == against
    text = as_text(report)
    assert "estimated output tokens" in text
    assert "predicted 40, off by +0.0 %" in text


def test_a_pilot_is_drawn_and_not_the_first_ones() -> None:
    drawn = pilot_of(PROBLEMS, 4, seed=0)
    assert drawn == pilot_of(PROBLEMS, 4, seed=0)
    assert len({tuple(pilot_of(PROBLEMS, 4, seed=seed)) for seed in range(10)}) > 5
    assert pilot_of(PROBLEMS, 99, seed=0) == [problem.id for problem in PROBLEMS]


def test_the_interval_holds_what_comes_nineteen_times_of_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonflow.evals.statistics.DRAWS", 500)
    draw, inside = random.Random(0), 0
    for _ in range(300):
        values = [max(1.0, draw.gauss(100, 30)) for _ in range(12)]
        samples = [Sample(id=str(n), sample=0, seed=0, answer="", expected="", correct=True) for n in range(4)]
        likely, ends = _total(list(zip(samples, values, strict=False)), samples, 12, 1)
        assert likely == pytest.approx(3 * math.fsum(values[:4]))
        assert ends is not None
        inside += ends[0] <= math.fsum(values) <= ends[1]
    assert 0.9 < inside / 300 < 0.99


def test_two_problems_give_no_interval(lm: dspy.LM, tmp_path: Path) -> None:
    run(rf.SelfConsistency(n=4), lm, tmp_path, only=["1", "2"], samples=3)
    found = estimated(lm, tmp_path, samples=3).estimate
    assert found.output_tokens is not None
    assert found.output_tokens.likely
    assert found.output_tokens.expected is None
    assert any("no 95 % intervals: 2 of the problems" in note for note in found.notes)


def test_runs_of_other_problems_are_a_history_and_not_a_part(lm: dspy.LM, tmp_path: Path) -> None:
    run(rf.SelfConsistency(n=4), lm, tmp_path)
    found = dry_run(rf.SelfConsistency(n=4), PROBLEMS[:4], lm=lm, folder=tmp_path)
    assert (found.done, found.mine) == (0, False)
    assert found.estimate.output_tokens is not None
    mean = sum(sample.output_tokens or 0 for sample in read_samples(tmp_path / "samples.jsonl")) / 10
    assert found.estimate.output_tokens.likely == pytest.approx(4 * mean)


def test_the_folder_of_another_program_or_model_is_refused(lm: dspy.LM, tmp_path: Path) -> None:
    run(rf.SelfConsistency(n=4), lm, tmp_path, only=["1"])
    with pytest.raises(InputError, match="holds samples of another evaluation"):
        estimated(lm, tmp_path, rf.SelfConsistency(n=8))
    with pytest.raises(InputError, match="model was"):
        estimated(rf.scripted(answer, model="other", temperature=0.5, window=1000), tmp_path)


def test_a_plain_module_has_no_plan_to_estimate(lm: dspy.LM) -> None:
    with pytest.raises(InputError, match="Predict cannot be estimated"):
        estimated(lm, program=dspy.Predict("problem -> answer"))


def test_an_estimate_of_something_else_is_not_compared(lm: dspy.LM, tmp_path: Path) -> None:
    estimated(lm, tmp_path, rf.SelfConsistency(n=8)).write(tmp_path)
    whole = run(rf.SelfConsistency(n=4), lm, tmp_path)
    against = compared(tmp_path, whole)
    assert against is not None
    assert "another evaluation" in against["skipped"]
    assert "another evaluation" in as_text(
        summarise(whole, program="p", benchmark="b", model="m", seed=0, estimate=against)
    )
    (tmp_path / FILE).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        compared(tmp_path, whole)
    (tmp_path / FILE).unlink()
    assert compared(tmp_path, whole) is None


def test_a_part_of_an_evaluation_is_not_compared(lm: dspy.LM, tmp_path: Path) -> None:
    estimated(lm, tmp_path).write(tmp_path)
    part = run(rf.SelfConsistency(n=4), lm, tmp_path, overall_budget=rf.Budget(calls=8))
    assert part.stopped
    against = compared(tmp_path, part)
    assert against is not None
    assert "stopped by the budget" in against["skipped"]


def test_hosted_models_are_compared_in_dollars(tmp_path: Path) -> None:
    lm = rf.scripted(answer, model="gpt-4o-mini", temperature=0.5, window=1000)
    run(rf.SelfConsistency(n=4), lm, tmp_path, only=["1", "4", "7", "9"])
    found = estimated(lm, tmp_path)
    found.write(tmp_path)
    whole = run(rf.SelfConsistency(n=4), lm, tmp_path)
    against = compared(tmp_path, whole)
    assert against is not None
    spent = sum((s.input_tokens or 0) * 0.15e-6 + (s.output_tokens or 0) * 0.6e-6 for s in whole.samples)
    assert against["dollars"]["actual"] == pytest.approx(spent)
    assert found.estimate.dollars is not None
    assert found.estimate.dollars.likely == pytest.approx(spent, rel=0.5)
