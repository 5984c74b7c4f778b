"""An evaluation is killed again and again, and goes on each time as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reasonflow.evals import journal, samples

KILLS = 10
KEPT = (
    "answer", "correct", "expected", "seed", "sequential_tokens", "token_latency", "calls", "total_tokens",
    "input_tokens", "output_tokens", "complete", "error", "cut",
)  # fmt: skip

SCRIPTED = r"""
# Runs the evaluation in a fork of itself for every folder it reads: importing once leaves time for many kills.
import hashlib, os, sys
from pathlib import Path
import anyio
import reasonflow as rf
from reasonflow.evals.dataset import Problem
from reasonflow.evals.runner import evaluate

problems = [Problem(id=f"p{n}", inputs={"problem": f"{n} + {n} = ?"}, answer=str(2 * n)) for n in range(6)]

def answer(prompt, seed, index):
    asked = f"{hashlib.sha256(prompt.encode()).hexdigest()[:12]}.{seed}"
    with open(folder / "asked", "a") as file:
        file.write(asked + "\n")
    return f"call {asked} end, so \\boxed{{{int(hashlib.sha256(asked.encode()).hexdigest(), 16) % 11}}}"

async def work():
    lm = rf.scripted(answer, latency=lambda request, index: 0.05 + (request.sampling.seed + index) % 7 / 100)
    await evaluate(rf.PDR(widths=(3, 2)), problems, lm=lm, samples=4, seed=5, out=folder, concurrency=4)

for line in sys.stdin:
    folder = Path(line.strip())
    child = os.fork()
    if not child:
        anyio.run(work)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Sessions:
    """The evaluation's process: `begin` starts a session in a folder, `kill` ends it, `end` waits for it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = 0

    def begin(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        self.pid = self._read()

    def kill(self) -> int:
        os.kill(self.pid, signal.SIGKILL)
        return self.end()

    def end(self) -> int:
        return self._read()

    def _read(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def sessions(script: str) -> Iterator[Sessions]:
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Sessions(process)
        assert process.stdin is not None
        process.stdin.close()


def lines(path: Path) -> list[str]:
    """The whole lines of a file that may not be there."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def finished(folder: Path) -> list[str]:
    """Calls that stand in the log, by what the engine knows them as."""
    texts = [json.loads(line)["completion"]["text"] for line in lines(folder / journal.FILE)]
    return [text.split()[1] for text in texts]


def record(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What was recorded of every sample, without times and what the engine happened to have cached."""
    rows = [json.loads(line) for line in lines(folder / samples.FILE)]
    found = {(row["id"], row["sample"]): {name: row[name] for name in KEPT} for row in rows}
    assert len(found) == len(rows), "a sample was recorded twice"
    return found


def halve_last_line(path: Path) -> None:
    """As a machine that stops in the middle of a write would leave it."""
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(whole[: (start + len(whole)) // 2])


def wait_for_more(path: Path, before: int) -> None:
    """Until the engine was asked something."""
    deadline = time.monotonic() + 60
    while len(lines(path)) <= before:
        assert time.monotonic() < deadline, "the evaluation did not begin"
        time.sleep(0.005)


def test_ten_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    moments = random.Random(7)
    run, undisturbed = tmp_path / "killed", tmp_path / "whole"
    done: set[str] = set()
    with sessions(SCRIPTED) as session:
        for number in range(KILLS):
            asked, recorded = len(lines(run / "asked")), len(lines(run / samples.FILE))
            session.begin(run)
            wait_for_more(run / "asked", asked)
            time.sleep(moments.uniform(0, 0.3))
            assert session.kill() == signal.SIGKILL, "it ended by itself: nothing was tested"
            assert not done & {line.strip() for line in lines(run / "asked")[asked:]}, "a finished call was made again"
            done |= set(finished(run))
            if number % 3 == 1:
                done.discard(finished(run)[-1])
                halve_last_line(run / journal.FILE)
            if number % 3 == 2 and len(lines(run / samples.FILE)) > recorded:
                halve_last_line(run / samples.FILE)
        asked = len(lines(run / "asked"))
        session.begin(run)
        assert session.end() == 0
        assert not done & {line.strip() for line in lines(run / "asked")[asked:]}
        session.begin(undisturbed)
        assert session.end() == 0
    assert record(run) == record(undisturbed)
    assert len(record(run)) == 24
    assert len(set(lines(run / "asked"))) == len(lines(undisturbed / "asked")) == 24 * 8
    assert not (run / journal.FILE).exists()


REAL = r"""
import json, sys
from pathlib import Path
import anyio
import reasonflow as rf
from reasonflow.evals.benchmarks import load
from reasonflow.evals.runner import evaluate
from reasonflow.evals.session import Audience
from reasonflow.runtime.events import BranchEnded

folder = Path(sys.argv[1])
ends = open(folder / "ends", "a", buffering=1)

def follow(key):
    def watch(event):
        if isinstance(event, BranchEnded):
            print(json.dumps([*key, event.node, event.indices, event.replayed]), file=ends)
    return watch

async def work():
    lm = rf.vllm("embedded", temperature=0.7, max_tokens=48)
    program = rf.PDR(widths=(3, 2), workspace_tokens=48)
    await evaluate(
        program, load(limit=4), lm=lm, samples=2, out=folder / "run", concurrency=3, audience=Audience(follow=follow)
    )

anyio.run(work)
"""


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(900)  # three starts of the engine, on a machine that may have other work
def test_a_real_engine_is_killed_twice(tmp_path: Path) -> None:
    log = tmp_path / "run" / journal.FILE
    command = [sys.executable, "-c", REAL, str(tmp_path)]
    for kill in (1, 2):
        # In a group of its own, so that nothing of a killed engine can outlive the test.
        with (
            (tmp_path / "said").open("w+") as said,
            subprocess.Popen(command, stderr=said, start_new_session=True) as process,
        ):
            while len(computed(tmp_path / "ends")) < 12 * kill:
                assert process.poll() is None, (tmp_path / "said").read_text()
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
        assert log.exists()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(record(tmp_path / "run")) == 8
    calls = computed(tmp_path / "ends")
    assert len(set(calls)) == len(calls), "a finished call was made again"
    assert len(calls) < len(lines(tmp_path / "ends"))
    assert not log.exists()


def computed(ends: Path) -> list[str]:
    """The calls that ended and were not replayed: problem, sample, node and branch."""
    found = [json.loads(line) for line in lines(ends)]
    return [str(end[:4]) for end in found if not end[4]]
