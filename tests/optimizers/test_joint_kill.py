"""A compile of several phases is killed in each of them, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reasonflow.optimizers.trial_record import FILE, GATES
from tests.optimizers.test_compile_kill import finished

SCRIPT = r"""
import hashlib, json, os, signal, sys
from pathlib import Path
import reasonflow as rf
from reasonflow.optimizers import prompts_phase
from tests.optimizers.gated_votes import Guarded
from tests.optimizers.scripted_votes import examples, right_by
from tests.optimizers.test_joint import Tuner

class Told(Tuner):
    def __call__(self, *arguments, **options):
        with open(file.parent / "tuned", "a") as told:
            told.write("x")
        if die == "prompts":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(*arguments, **options)

def answer(prompt, seed, index):
    with open(file, "a") as asked:
        asked.write(f"{hashlib.sha256(prompt.encode()).hexdigest()[:12]}.{seed}.{index}\n")
    if str(sum(1 for line in open(file))) == die:
        os.kill(os.getpid(), signal.SIGKILL)
    return right_by(0.55)(prompt, seed, index)

for line in sys.stdin:  # a fork for every folder: importing once is enough
    folder, die, phases, calls, n = line.split()
    folder = Path(folder)
    file = folder / "asked"
    child = os.fork()
    if not child:
        prompts_phase.tune_prompts = Told(50)
        program = rf.compile(
            Guarded(rf.Choice(int(n)) if n != "0" else 4, threshold=0.5), examples(48), rf.math_equal,
            optimize=phases.split(","), budget=rf.Budget(calls=int(calls)), alpha=0.3, delta=0.3, seed=3,
            out=folder / "out", lm=rf.scripted(answer), concurrency=4,
        )
        (folder / "report").write_text(json.dumps(program.compile_report))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def lines(folder: Path) -> list[str]:
    return (folder / "asked").read_text().split() if (folder / "asked").exists() else []


def of_gates(folder: Path) -> int:
    """Calls of the last phase that stand in the record."""
    with closing(sqlite3.connect(folder / "out" / FILE)) as found:
        return int(found.execute("SELECT COUNT(*) FROM calls WHERE trial = ?", (GATES,)).fetchone()[0])


def comparable(folder: Path) -> dict[str, Any]:
    """The report but for the seconds it took."""
    found: dict[str, Any] = json.loads((folder / "report").read_text())
    return {**found, "spent": {**found["spent"], "seconds": 0}}


class Runs:
    """Compiles in processes of their own, which may be killed by themselves at a moment."""

    def __init__(self, process: subprocess.Popen[str], phases: str, calls: int, n: int = 0) -> None:
        self.process, self.options = process, f"{phases} {calls} {n}"

    def __call__(self, folder: Path, die: str) -> int:
        """How it ended. die: "prompts", or the number of the call at which it is killed; "never"."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        folder.mkdir(exist_ok=True)
        self.process.stdin.write(f"{folder} {die} {self.options}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        yield found
        assert found.stdin is not None
        found.stdin.close()


def test_a_kill_in_any_phase_repeats_no_finished_call(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    run, whole, killed = Runs(process, "prompts,topology,gates", 900), tmp_path / "whole", tmp_path / "killed"
    assert run(whole, "never") == 0
    count, gates = len(lines(whole)), of_gates(whole)
    assert gates >= 12
    moments = ["prompts", str(count // 3), str(count - gates + 2), str(count - gates // 3), str(count)]
    ended = [run(killed, moment) for moment in moments]
    assert ended == [signal.SIGKILL] * len(moments), "it ended by itself: nothing was tested"
    lost = len(lines(killed)) - finished(killed)
    assert run(killed, "never") == 0
    asked, undisturbed = lines(killed), lines(whole)
    assert set(asked) == set(undisturbed)
    assert len(undisturbed) == len(set(undisturbed))
    assert lost > 0, "no call was in flight at a kill: nothing was tested"
    assert len(asked) - len(undisturbed) == lost, "a call that had ended was made again"
    assert (killed / "tuned").read_text() == "xx", "the tuner was asked again after it had ended"
    assert comparable(killed) == comparable(whole)


def test_gates_that_were_killed_end_within_a_budget_that_is_just_enough(
    tmp_path: Path, process: subprocess.Popen[str]
) -> None:
    """Found calls are reserved for as if they were to be made: that must not be counted twice."""
    run, killed = Runs(process, "gates", 3 * 48, n=2), tmp_path / "killed"
    assert [run(killed, "60"), run(killed, "80")] == [signal.SIGKILL] * 2
    assert run(killed, "never") == 0
    report = comparable(killed)
    assert report["gates"][0]["samples"] == 48
    assert report["spent"]["calls"] == finished(killed) <= 3 * 48
