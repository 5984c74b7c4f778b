"""How far a run is: what the line says, that it shows on terminals only, and what an interrupted run leaves behind."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time

import dspy
import pytest
from rich.console import Console

import reasonflow as rf
from reasonflow.cli.live import LiveLine
from reasonflow.runtime.ambient import surrounded

SLOW = """
import sys
import reasonflow as rf
from reasonflow.cli import live, run as command
from reasonflow.cli.main import main

count = live.LiveLine.__call__

def told(line, event):
    count(line, event)
    if isinstance(event, rf.events.BranchEnded):
        print("one has ended", file=sys.stderr, flush=True)

live.LiveLine.__call__ = told
text = "word " * 40 + "\\\\boxed{1}"
seconds = lambda request, index: 60 if index else 0.6
command.open_lm = lambda model, **options: rf.scripted(lambda *_: text, latency=seconds)
sys.argv = ["reasonflow", "run", "self_consistency", "p", "--set", "n=4"]
main()
"""
"""One sample ends soon, the others would take a minute."""


class Agreed(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: object) -> object:
        return rf.quorum(self.solve(problem=problem, n=4), by="answer", need=2)


def seconds(request: object, index: int) -> float:
    return 0.02 + 0.4 * (index > 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_it_counts_what_runs_ends_and_is_cancelled(streamed: bool) -> None:
    lm = rf.scripted(lambda *_: "word " * 20 + "\\boxed{1}", latency=seconds)
    line = LiveLine(Console(file=io.StringIO()))
    with line, dspy.context(lm=lm), surrounded(watch=line, streamed=streamed):
        run = Agreed()(problem="p").run
    assert line.text().startswith(f"0 branches running, 2 ended, 2 cancelled, {run.usage.output_tokens:,} tokens")


def test_tokens_count_as_they_are_written() -> None:
    lm = rf.scripted(lambda *_: "word " * 50 + "\\boxed{1}", latency=0.5)
    line = LiveLine(Console(file=io.StringIO()))
    seen: list[str] = []

    def watch(event: rf.events.Event) -> None:
        line(event)
        seen.append(line.text())

    with line, dspy.context(lm=lm), surrounded(watch=watch, streamed=True):
        Agreed()(problem="p")
    assert any(re.match(r"4 branches running, 0 ended, [1-9]\d* tokens", text) for text in seen)


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    line = LiveLine(Console(file=written))
    with line, dspy.context(lm=rf.scripted("\\boxed{1}")), surrounded(watch=line):
        Agreed()(problem="p")
    assert not line.shown
    assert written.getvalue() == ""


def test_a_terminal_sees_the_line() -> None:
    written = io.StringIO()
    line = LiveLine(Console(file=written, force_terminal=True, width=100))
    lm = rf.scripted(lambda *_: "\\boxed{1}", latency=lambda request, index: 0.6)
    with line, dspy.context(lm=lm), surrounded(watch=line, streamed=line.shown):
        Agreed()(problem="p")
    assert "4 branches running, 0 ended" in written.getvalue()


def test_ctrl_c_ends_with_130_and_says_what_was_done() -> None:
    run = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    assert run.stderr.readline() == "one has ended\n"
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert time.monotonic() - began < 30, "the samples would have taken a minute"
    assert run.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "the run was cancelled; of its samples: 1 ended, 3 cancelled" in err


def test_ctrl_c_on_a_terminal_too() -> None:
    main_end, run_end = pty.openpty()
    run = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=run_end, text=True)
    os.close(run_end)
    seen = ""
    while "one has ended" not in seen:
        seen += os.read(main_end, 4096).decode()
    run.send_signal(signal.SIGINT)
    while True:
        try:
            seen += os.read(main_end, 4096).decode()
        except OSError:  # the other end is closed: the run is over
            break
    out, _ = run.communicate(timeout=60)
    os.close(main_end)
    assert (run.returncode, out) == (130, "")
    assert "branches running" in seen
    assert "the run was cancelled; of its samples: 1 ended, 3 cancelled" in " ".join(seen.split())
