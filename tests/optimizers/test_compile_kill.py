"""A compile is killed again and again, and goes on each time as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from reasonflow.optimizers.trial_record import FILE

KILLS = 6
SCRIPT = r"""
import json, os, sys
from pathlib import Path
import reasonflow as rf
from tests.optimizers.scripted_votes import examples, right_by

def answer(prompt, seed, index):
    with open(folder / "asked", "a") as file:
        file.write(f"{hash_of(prompt)}.{seed}\n")
    return right_by(0.45)(prompt, seed, index)

def hash_of(prompt):
    import hashlib
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]

for line in sys.stdin:  # a fork for every folder: importing once leaves time for many kills
    folder = Path(line.strip())
    child = os.fork()
    if not child:
        lm = rf.scripted(answer, latency=lambda request, index: 0.02 + (request.sampling.seed + index) % 7 / 100)
        program = rf.compile(
            rf.PDR(widths=rf.Choice((4,), options=[(4,), (2,), (3, 2), (2, 1)])), examples(12), rf.math_equal,
            budget=rf.Budget(calls=400), seed=3, out=folder / "out", lm=lm, concurrency=4,
        )
        (folder / "report").write_text(json.dumps(program.compile_report))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def finished(folder: Path) -> int:
    """Calls that stand in the record of a compile that is not running."""
    if not (folder / "out" / FILE).exists():
        return 0
    with closing(sqlite3.connect(folder / "out" / FILE)) as found:
        return int(found.execute("SELECT COUNT(*) FROM calls").fetchone()[0])


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    moments = random.Random(5)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def begin(folder: Path) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        lost = 0
        for _ in range(KILLS):
            before = len(lines(killed / "asked"))
            pid = begin(killed)
            deadline = time.monotonic() + 60
            while len(lines(killed / "asked")) <= before:
                assert time.monotonic() < deadline, "the compile did not go on"
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.2))
            subprocess.run(["kill", "-9", str(pid)], check=True)
            assert int(process.stdout.readline()) == signal.SIGKILL, "it ended by itself: nothing was tested"
            lost = len(lines(killed / "asked")) - finished(killed)
        begin(killed)
        assert process.stdout.readline().strip() == "0"
        begin(whole)
        assert process.stdout.readline().strip() == "0"
        process.stdin.close()
    asked, undisturbed = lines(killed / "asked"), lines(whole / "asked")
    assert set(asked) == set(undisturbed)
    assert len(undisturbed) == len(set(undisturbed)) <= 400
    assert lost > 0, "no call was in flight at a kill: nothing was tested"
    assert finished(killed) == finished(whole) == len(set(asked))
    assert len(asked) - len(set(asked)) == lost, "a call that had ended was made again"
    assert comparable(killed) == comparable(whole)


def comparable(folder: Path) -> dict[str, object]:
    """The report but for the seconds it took."""
    found: dict[str, object] = json.loads((folder / "report").read_text())
    spent = found["spent"]
    assert isinstance(spent, dict)
    return {**found, "spent": {**spent, "seconds": 0}}
