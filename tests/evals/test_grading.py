"""Grading with real worker processes: verdicts, and answers that hang, eat memory or kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dspy
import pytest

from reasonflow.errors import InputError, RunError
from reasonflow.evals import grading
from reasonflow.evals.benchmarks import load
from reasonflow.evals.dataset import Problem
from reasonflow.evals.grading import Grade, Grader, Worker
from reasonflow.evals.metrics import math_equal


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, limit_s=20.0) as grader:
        yield grader


def worker_pids(grader: Grader) -> set[int]:
    return {worker.pid for worker in grader._all}


@pytest.mark.parametrize(
    ("answer", "golds", "grade"),
    [
        ("Avatar, by James Cameron", [{"Avatar": "James Cameron"}], Grade(True)),
        ("Avatar", [{"Avatar": "James Cameron"}], Grade(False, "lacks james cameron")),
        ("There are 1,590,152 of them", [1590152], Grade(True)),
        ("Prost: yes; Verstappen: No.", [{"Prost": True, "Verstappen": False}], Grade(True)),
        ("a b", [["a", "b", "c", "d", "e", "f"]], Grade(False, "lacks c, d, e")),
        # The nearest of several gold answers says what is missing.
        ("a b", [["x"], ["a", "b", "c"]], Grade(False, "lacks c")),
        ("a b", [["x"], "a b"], Grade(True)),
    ],
)
def test_a_listed_answer_holds_every_string(grader: Grader, answer: str, golds: list[object], grade: Grade) -> None:
    problem = Problem(id="p", inputs={}, answer="", kind="listed", grading={"answers": golds})
    assert grader.grade(problem, answer) == grade


@pytest.mark.parametrize(
    ("answer", "expected", "correct"),
    [
        ("January, 18 1866", "January 18, 1866", True),
        ("18 January 1866", "January 18, 1866", False),
        ("1590152", "1,590,152", True),
        ("Yes.", "yes", True),
        ("yes, they are", "yes", False),
    ],
)
def test_dates_numbers_and_yes_or_no_are_words(grader: Grader, answer: str, expected: str, correct: bool) -> None:
    assert grader.grade(Problem(id="p", inputs={}, answer=expected, kind="text"), answer).correct is correct


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("0.5", "\\frac{1}{2}"),
        ("1/2", "0.5"),
        ("x+1", "1+x"),
        ("\\{2, 1\\}", "\\{1, 2\\}"),
        ("\\sqrt{8}", "2\\sqrt{2}"),
        ("x = 3/4", "\\dfrac{3}{4}"),
        ("11\\frac12", "11.5"),
        ("(C)", "C"),
        ("\\text{East}", "east"),
        ("E_{1},E_{2}", "E_{1},E_{2}"),
    ],
)
def test_equal_answers(grader: Grader, answer: str, expected: str) -> None:
    assert grader.equal(answer, expected) == Grade(True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("0.4", "\\frac{1}{2}"), ("x+2", "1+x"), ("(2,1)", "(1,2)"), ("seat", "\\text{east}"), ("7", "8")],
)
def test_different_answers(grader: Grader, answer: str, expected: str) -> None:
    assert not grader.equal(answer, expected).correct


@pytest.mark.parametrize("answer", [None, "", "  \n"])
def test_no_answer_is_its_own_reason(grader: Grader, answer: str | None) -> None:
    assert grader.grade(Problem(id="p", inputs={}, answer="5"), answer) == Grade(False, "no answer")


def test_an_answer_that_is_no_mathematics_says_so(grader: Grader) -> None:
    assert grader.equal("}{ $", "x^2").reason.startswith("not parsed")
    assert "longer than" in grader.equal("9" * 20_000, "5").reason


def test_aliases_count(grader: Grader) -> None:
    problem = Problem(id="p", inputs={}, answer="NYC", kind="text", aliases=("New York City",))
    assert grader.grade(problem, "the New York City").correct
    assert not grader.grade(problem, "Boston").correct


def test_a_countdown_needs_no_worker() -> None:
    problem = Problem(id="p", inputs={}, answer="3*4", kind="countdown", grading={"numbers": [3, 4], "target": 12})
    with Grader() as grader:
        assert grader.grade(problem, "4 * 3").correct
        assert grader.grade(problem, "4 + 3").reason == "makes 7 instead of 12"
        assert worker_pids(grader) == set()


def test_the_generator_grades_what_it_made(grader: Grader) -> None:
    problem = load("rg:prime_factorization", limit=3)[1]
    assert grader.grade(problem, problem.answer) == Grade(True)
    assert grader.grade(problem, "1 × 1").reason == "scored 0.00" or not grader.grade(problem, "1 × 1").correct
    countdown = load("rg:countdown", limit=1)[0]
    assert grader.grade(countdown, f"({countdown.answer})").correct  # another spelling of a solution


def test_an_answer_that_hangs_costs_its_limit_and_the_worker_is_replaced() -> None:
    with Grader(workers=1, limit_s=1.0) as grader:
        assert grader.equal("x + 1", "1 + x").correct
        before = worker_pids(grader)
        began = time.perf_counter()
        assert grader.equal("2^{99999999999}", "3") == Grade(False, "timed out")
        assert time.perf_counter() - began < 10.0
        assert grader.equal("x + 1", "1 + x").correct
        assert worker_pids(grader).isdisjoint(before)


def test_a_worker_that_is_killed_costs_one_answer() -> None:
    with Grader(workers=1) as grader:
        assert grader.equal("x + 1", "1 + x").correct
        (pid,) = worker_pids(grader)
        os.kill(pid, 9)
        assert "ended" in grader.equal("x + 1", "1 + x").reason
        assert grader.equal("x + 1", "1 + x").correct


def test_memory_is_limited() -> None:
    limit = 400 << 20
    with Grader(workers=1, limit_s=30.0, memory_bytes=limit) as grader:
        assert grader.equal("x + 1", "1 + x").correct
        (pid,) = worker_pids(grader)
        assert not grader.equal("2^{99999999999}", "3").correct  # twelve gigabytes, were they to be had
        if worker_pids(grader) == {pid}:
            (peak,) = [
                int(line.split()[1]) << 10
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("VmPeak")
            ]
            assert peak <= limit
        assert grader.equal("x + 1", "1 + x").correct


def test_a_worker_that_cannot_start_is_an_error_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text("import a_module_that_is_not_installed\n")
    monkeypatch.setattr(grading, "WORKER", broken)
    with Grader() as grader, pytest.raises(RunError, match="a_module_that_is_not_installed"):
        grader.equal("x + 1", "1 + x")


def test_threads_share_the_workers() -> None:
    with Grader(workers=2) as grader:
        found: list[bool] = []
        threads = [
            threading.Thread(target=lambda k=k: found.append(grader.equal(f"x+{k}", f"{k}+x").correct))
            for k in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 12
        assert len(worker_pids(grader)) <= 2


def test_closing_ends_the_workers_and_later_answers_are_lost() -> None:
    grader = Grader(workers=1)
    assert grader.equal("x + 1", "1 + x").correct
    (worker,) = grader._all
    grader.close()
    grader.close()
    assert worker._process.poll() is not None
    assert grader.equal("x + 1", "1 + x") == Grade(False, "the grading process ended")


def test_workers_end_with_the_process_that_started_them() -> None:
    """Also where it is killed and can clean nothing up."""
    script = (
        "import sys, time; from reasonflow.evals.grading import Grader; g = Grader(workers=1); g.equal('x+1', '1+x');"
        "(w,) = g._all; print(w.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"worker {pid} outlived its parent")


def test_a_worker_does_not_take_its_folder_for_the_standard_library() -> None:
    """evals/statistics.py stands beside it."""
    worker = Worker()
    try:
        assert worker.ask({"kind": "math", "answer": "1", "expected": "1", "limit_s": 20.0}).correct
    finally:
        worker.close()


def test_math_equal_is_a_dspy_metric() -> None:
    example = dspy.Example(problem="?", answer="\\frac{1}{2}").with_inputs("problem")
    assert math_equal(example, dspy.Prediction(answer="0.5")) is True
    assert math_equal(example, dspy.Prediction(answer="0.6"), trace=[]) is False
    assert math_equal(example, dspy.Prediction(answer=None)) is False
    assert math_equal("1/2", "0.5")
    evaluate = dspy.Evaluate(devset=[example] * 3, metric=math_equal, num_threads=3, display_progress=False)
    assert evaluate(lambda **_: dspy.Prediction(answer="0.50")).score == 100.0


def test_math_equal_refuses_what_has_no_answer() -> None:
    with pytest.raises(InputError, match="the prediction has none"):
        math_equal(dspy.Example(answer="1"), dspy.Prediction(output="1"))
