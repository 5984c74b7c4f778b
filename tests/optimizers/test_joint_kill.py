"""A compile of several phases is killed in each of them, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from reasonflow.optimizers.trial_record import FILE, GATES
from tests.optimizers.test_compile_kill import finished

SCRIPT = r"""
import hashlib, json, os, signal, sys
from pathlib import Path
import reasonflow as rf
from reasonflow.optimizers import compiling
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
    folder, die = line.split()
    folder = Path(folder)
    file = folder / "asked"
    child = os.fork()
    if not child:
        compiling.prompt_tuner = lambda: Told(50)
        program = rf.compile(
            Guarded(threshold=0.5), examples(48), rf.math_equal, optimize=("prompts", "topology", "gates"),
            budget=rf.Budget(calls=900), alpha=0.3, delta=0.3, seed=3, out=folder / "out",
            lm=rf.scripted(answer), concurrency=4,
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


def test_a_kill_in_any_phase_repeats_no_finished_call(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run(folder: Path, die: str) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{folder} {die}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        assert run(whole, "never") == 0
        count, gates = len(lines(whole)), of_gates(whole)
        assert gates >= 12
        moments = ["prompts", str(count // 3), str(count - gates + 2), str(count - gates // 3), str(count)]
        ended = [run(killed, moment) for moment in moments]
        assert ended == [signal.SIGKILL] * len(moments), "it ended by itself: nothing was tested"
        lost = len(lines(killed)) - finished(killed)
        assert run(killed, "never") == 0
        assert process.stdin is not None
        process.stdin.close()
    asked, undisturbed = lines(killed), lines(whole)
    assert set(asked) == set(undisturbed)
    assert len(undisturbed) == len(set(undisturbed))
    assert lost > 0, "no call was in flight at a kill: nothing was tested"
    assert len(asked) - len(undisturbed) == lost, "a call that had ended was made again"
    assert (killed / "tuned").read_text() == "xx", "the tuner was asked again after it had ended"
    assert comparable(killed) == comparable(whole)
