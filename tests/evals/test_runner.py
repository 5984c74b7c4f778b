"""The runner on real programs over the scripted engine, and on a module that fails in every way."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import EngineDead, InputError, PromptTooLong, RunError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grader
from reasonflow.evals.runner import Evaluation, evaluate, in_flight
from reasonflow.evals.samples import FILE, Sample
from reasonflow.evals.session import Audience, sample_seed
from reasonflow.runtime.events import BranchEnded, Event

PROBLEMS = [Problem(id=str(n), inputs={"problem": f"{n} + {n} = ?"}, answer=str(2 * n)) for n in range(6)]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


@pytest.fixture
def run(grader: Grader) -> Callable[..., Evaluation]:
    """Evaluate and wait."""

    def run(program: dspy.Module, problems: list[Problem] = PROBLEMS, **options: Any) -> Evaluation:
        told = {name: options.pop(name) for name in ("on_sample", "on_kept") if name in options}
        options = {"lm": scripted(), "grader": grader, "audience": Audience(**told), **options}

        async def work() -> Evaluation:
            return await evaluate(program, problems, **options)

        return anyio.run(work)

    return run


def scripted(**options: Any) -> dspy.LM:
    return rf.scripted(lambda *_: "So \\boxed{4}", **options)


class Record(SimpleNamespace):
    """The figures of a run record."""

    def __init__(self, seed: int) -> None:
        usage = SimpleNamespace(calls=3, total_tokens=30, input_tokens=20, output_tokens=10, cached_tokens=15)
        super().__init__(
            usage=usage,
            sequential_tokens=12,
            token_latency=5,
            complete=True,
            squeezed=False,
            repairs=["x"],
            failures=[],
            seed=seed,
        )


class Outcome(dspy.Prediction):  # type: ignore[misc]  # DSPy ships no types
    """A prediction with a record, as programs give."""

    @property
    def run(self) -> Record:
        return Record(0)


class Double(dspy.Module):  # type: ignore[misc]
    """Answers 4 after a moment; `behave` sees the problem's text and the seed first and may raise."""

    def __init__(self, behave: Callable[[str, int], Any] | None = None, delay_s: float = 0.0) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.behave, self.delay_s = behave, delay_s
        self.live = self.most_live = 0
        self.cancelled = 0

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        return {}

    async def aforward(self, problem: str) -> dspy.Prediction:
        seed = dspy.settings.lm.kwargs["seed"]
        self.calls.append((problem, seed))
        self.live += 1
        self.most_live = max(self.live, self.most_live)
        try:
            await anyio.sleep(self.delay_s)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.live -= 1
        answer = self.behave(problem, seed) if self.behave else "4"
        return Outcome(answer=answer)


def test_a_program_is_graded_and_its_figures_recorded(run: Callable[..., Evaluation]) -> None:
    found = run(rf.SelfConsistency(n=3), samples=2)
    assert [(s.id, s.sample) for s in found.samples] == [(p.id, i) for p in PROBLEMS for i in range(2)]
    assert [s.correct for s in found.samples] == [s.id == "2" for s in found.samples]
    for sample in found.samples:
        assert sample.answer == "4"
        assert sample.error == ""
        assert sample.complete
        assert sample.total_tokens is not None
        assert sample.token_latency is not None
        assert sample.sequential_tokens is not None
        assert 0 < sample.token_latency < sample.sequential_tokens < sample.total_tokens
    assert found.wall_s == max(s.ended_s for s in found.samples) > 0


def test_the_branches_of_every_sample_are_told_without_their_tokens(run: Callable[..., Evaluation]) -> None:
    seen: dict[tuple[str, int], list[Event]] = {}
    requests: list[bool] = []
    lm = scripted(latency=lambda request, index: requests.append(request.stream) or 0.0)
    audience = Audience(follow=lambda key: seen.setdefault(key, []).append)
    run(rf.SelfConsistency(n=3), samples=2, lm=lm, audience=audience)
    assert set(seen) == {(p.id, i) for p in PROBLEMS for i in range(2)}
    for events in seen.values():
        assert Counter(type(event) for event in events)[BranchEnded] == 3
    assert not any(requests)


def test_a_module_without_an_async_form_runs_in_threads(run: Callable[..., Evaluation]) -> None:
    class Plain(dspy.Module):  # type: ignore[misc]
        def forward(self, problem: str) -> dspy.Prediction:
            return rf.ChainOfThought()(problem=problem)

    found = run(Plain(), concurrency=3)
    assert [s.error for s in found.samples] == [""] * 6
    assert found.samples[2].correct
    assert found.samples[2].total_tokens is not None


def test_any_dspy_module_can_be_evaluated(run: Callable[..., Evaluation]) -> None:
    lm = dspy.utils.DummyLM([{"answer": "4"}] * 6)
    found = run(dspy.Predict("problem -> answer"), lm=lm)
    assert sum(s.correct for s in found.samples) == 1
    assert found.samples[0].total_tokens is None


def test_seeds_follow_problem_and_sample_and_nothing_else(run: Callable[..., Evaluation]) -> None:
    program = Double()
    run(program, samples=3, seed=7, concurrency=2)
    assert set(program.calls) == {
        (p.inputs["problem"], sample_seed(7, p.id, index)) for p in PROBLEMS for index in range(3)
    }
    assert len({seed for _, seed in program.calls}) == 18
    again = Double()
    run(again, PROBLEMS[3:], samples=1, seed=7)
    assert set(again.calls) < set(program.calls)
    other = Double()
    run(other, samples=1, seed=8)
    assert not set(other.calls) & set(program.calls)
    assert all(0 <= seed < 2**31 for _, seed in program.calls)


def test_concurrency_is_bounded_and_used(run: Callable[..., Evaluation]) -> None:
    program = Double(delay_s=0.02)
    run(program, samples=4, concurrency=3)
    assert program.most_live == 3
    assert in_flight(scripted(max_running=5)) == 5


def test_samples_are_told_and_written_as_they_end(run: Callable[..., Evaluation], tmp_path: Path) -> None:
    lines: list[int] = []

    def told(sample: Sample) -> None:
        written = (tmp_path / FILE).read_text().splitlines()
        assert json.loads(written[-1])["id"] == sample.id
        lines.append(len(written))

    run(Double(), out=tmp_path, on_sample=told)
    assert lines == list(range(1, 7))
    row = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert {"id", "sample", "answer", "expected", "correct", "reason", "sequential_tokens", "token_latency"} < set(row)
    assert {"total_tokens", "input_tokens", "output_tokens", "cached_tokens", "wall_s", "repairs", "error"} < set(row)
    assert row["total_tokens"] == 30


def test_a_call_that_fails_is_a_wrong_sample_with_its_error(run: Callable[..., Evaluation]) -> None:
    errors = {"0 + 0 = ?": ValueError("odd"), "1 + 1 = ?": RunError("lost"), "3 + 3 = ?": PromptTooLong("long")}

    def behave(problem: str, seed: int) -> str:
        if problem in errors:
            errors[problem].run = Record(seed)  # type: ignore[attr-defined]  # as programs leave it
            raise errors[problem]
        return "4"

    found = {s.id: s for s in run(Double(behave)).samples}
    assert {i: s.error for i, s in found.items() if s.error} == {
        "0": "ValueError: odd",
        "1": "RunError: lost",
        "3": "PromptTooLong: long",
    }
    assert not found["0"].correct
    assert found["0"].answer is None
    assert found["0"].total_tokens == 30  # what a failed run spent was spent
    assert found["2"].correct


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_that_would_repeat_stops_the_run_and_keeps_what_ended(
    run: Callable[..., Evaluation], tmp_path: Path, wrapped: bool
) -> None:
    def behave(problem: str, seed: int) -> str:
        if problem.startswith("2"):
            dead = EngineDead("the engine stopped")
            if wrapped:
                raise RunError("all branches failed") from dead
            raise dead
        return "4"

    with pytest.raises(RunError if wrapped else EngineDead):
        run(Double(behave), out=tmp_path, concurrency=1)
    assert [json.loads(line)["id"] for line in (tmp_path / FILE).read_text().splitlines()] == ["0", "1"]
    found = run(Double(), out=tmp_path)
    assert found.resumed == 2
    assert len(found.samples) == 6


def test_the_other_calls_are_cancelled_when_the_run_stops(run: Callable[..., Evaluation]) -> None:
    class Dies(Double):
        async def aforward(self, problem: str) -> dspy.Prediction:
            if problem.startswith("5"):
                raise EngineDead("gone")
            return await super().aforward(problem)

    program = Dies(delay_s=30)
    with pytest.raises(EngineDead):
        run(program, concurrency=6)
    assert program.cancelled == 5


def test_the_same_command_goes_on_where_it_stopped(run: Callable[..., Evaluation], tmp_path: Path) -> None:
    class Enough(Exception):
        """The test's own interruption."""

    def interrupt(sample: Sample) -> None:
        if sample.id == "3":
            raise Enough

    program = Double()
    with pytest.raises(Enough):
        run(program, out=tmp_path, samples=2, concurrency=1, on_sample=interrupt)
    first = (tmp_path / FILE).read_text()
    with (tmp_path / FILE).open("a") as file:
        file.write('{"id": "3", "sample": 1, "see')  # a line the crash cut short
    kept: list[Sample] = []
    again = Double()
    found = run(again, out=tmp_path, samples=2, on_kept=kept.append)
    assert (tmp_path / FILE).read_text().startswith(first)
    assert len(kept) == found.resumed == 7
    assert not Counter(program.calls) & Counter(again.calls)
    assert len(program.calls) + len(again.calls) == len(found.samples) == 12
    assert {s.session for s in found.samples} == {0, 1}
    untouched = Double()
    assert run(untouched, out=tmp_path, samples=2).samples == found.samples
    assert untouched.calls == []


def test_cancelling_keeps_what_ended_and_frees_the_folder(grader: Grader, tmp_path: Path) -> None:
    lm = scripted()
    program = Double(delay_s=0.05)

    async def work() -> None:
        with anyio.CancelScope() as scope:
            stop = lambda sample: scope.cancel()  # noqa: E731
            told = Audience(on_sample=stop)
            await evaluate(program, PROBLEMS, lm=lm, out=tmp_path, concurrency=2, grader=grader, audience=told)

    anyio.run(work)
    assert program.cancelled >= 1
    kept = len((tmp_path / FILE).read_text().splitlines())
    assert 1 <= kept < 6

    async def again() -> Evaluation:
        return await evaluate(Double(), PROBLEMS, lm=lm, out=tmp_path, grader=grader)

    found = anyio.run(again)
    assert (found.resumed, len(found.samples)) == (kept, 6)


def test_the_engine_starts_before_the_clock_and_only_if_there_is_work(
    run: Callable[..., Evaluation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = scripted()
    starts: list[float] = []

    async def start() -> None:
        await anyio.sleep(0.5)
        starts.append(time.perf_counter())

    monkeypatch.setattr(lm.engine.runtime.backend, "start", start)
    found = run(Double(), out=tmp_path, lm=lm)
    assert found.wall_s < time.perf_counter() - starts[0]
    assert run(Double(), out=tmp_path, lm=lm).resumed == 6
    assert len(starts) == 1


def test_a_folder_of_another_evaluation_is_refused(run: Callable[..., Evaluation], tmp_path: Path) -> None:
    run(Double(), out=tmp_path)
    before = (tmp_path / FILE).read_text()
    with pytest.raises(InputError, match="seed was 0, now 1"):
        run(Double(), out=tmp_path, seed=1)
    assert (tmp_path / FILE).read_text() == before


def test_a_module_without_an_answer_stops_at_once(run: Callable[..., Evaluation]) -> None:
    program = rf.ChainOfThought("problem -> solution")
    with pytest.raises(rf.ReasonFlowError, match="no field 'answer'"):
        run(program)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"samples": 0}, "samples=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"problems": []}, "no problems"),
        ({"problems": [PROBLEMS[0], PROBLEMS[0]]}, "'0'"),
        ({"lm": None}, "no language model"),
    ],
)
def test_bad_arguments_are_named_before_anything_runs(
    run: Callable[..., Evaluation], tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    program = Double()
    with pytest.raises(InputError, match=says):
        run(program, out=tmp_path / "run", **change)
    assert program.calls == []
    assert not (tmp_path / "run").exists()
