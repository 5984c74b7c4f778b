"""A tuning of prompts is killed again and again, and goes on each time without asking for anything twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 3
SCRIPT = r"""
import json, os, sys
from pathlib import Path
import reasonflow as rf
from reasonflow.optimizers.prompting.tuning import tune_prompts
from tests.school import TRAIN, VAL, Pupil, Teacher, exact

def noted(folder, answer):
    def ask(prompt, seed, index):
        text = answer(prompt, seed, index)
        with open(folder / "asked", "a") as file:
            file.write(json.dumps([prompt, seed, index]) + "\n")
        return text
    return ask

def slow(request, index):
    return 0.015

for line in sys.stdin:  # a fork for every folder: importing once leaves time for many kills
    by, name = line.split()
    folder = Path(name)
    child = os.fork()
    if not child:
        pupil, teacher = Pupil(), Teacher(mute=4)
        best = tune_prompts(
            rf.PDR(widths=(2,)), TRAIN, exact, valset=VAL, by=by, budget=rf.Budget(calls=300), seed=3,
            lm=rf.scripted(noted(folder, pupil.answer), latency=slow, max_tokens=40), concurrency=3,
            reflection_lm=rf.scripted(noted(folder, teacher.answer), latency=slow, model="teacher"), out=folder / "out",
        )
        (folder / "report").write_text(json.dumps(best.compile_report))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.parametrize("by", ["gepa", "miprov2"])
def test_kills_lose_nothing_and_repeat_nothing(by: str, tmp_path: Path) -> None:
    moments, killed, whole = random.Random(5), tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    pipe, command = subprocess.PIPE, [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def begin(folder: Path) -> int:
            print(by, folder, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        begin(whole)
        assert int(process.stdout.readline()) == 0
        for _ in range(KILLS):
            child, wanted = begin(killed), asked(killed) + moments.randrange(3, 8)
            while asked(killed) < wanted:
                assert process.poll() is None
                time.sleep(0.005)
            os.kill(child, signal.SIGKILL)
            assert int(process.stdout.readline()) == signal.SIGKILL
        begin(killed)
        assert int(process.stdout.readline()) == 0
        process.stdin.close()
    one, other = (json.loads((folder / "report").read_text()) for folder in (killed, whole))
    assert one["candidates"] == other["candidates"]
    assert one["stopped"] == other["stopped"]
    # What was under way when it was killed is asked again: three runs of at most two samples, for each kill.
    assert asked(whole) <= asked(killed) <= asked(whole) + 6 * KILLS
    assert other["spent"]["calls"] <= one["spent"]["calls"] <= asked(killed)


def asked(folder: Path) -> int:
    path = folder / "asked"
    return len(path.read_text().splitlines()) if path.exists() else 0
