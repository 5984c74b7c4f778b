"""`rf.show`: the output of a stream, drawn where there is something to draw on, cancelled with whoever waits for it."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.runtime import live_view
from reasonflow.runtime.live_view import Notebook, answer_text, show
from reasonflow.runtime.progress import Progress
from reasonflow.runtime.values import Record

SCRIPT = """
import dspy, reasonflow as rf
lm = rf.scripted("so " * 30 + "\\\\boxed{7}", latency=lambda request, index: 0.6 + 0.1 * index)
with dspy.context(lm=lm):
    print("answer", rf.show(rf.SelfConsistency(n=4).stream(problem="p")).answer)
"""


class Agreed(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem: object) -> object:
        return rf.answer(rf.quorum(self.solve(problem=problem, n=4), by="answer", need=2))


class Recording:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.drawing = asyncio.Event()
        self.closed = ""

    def open(self, progress: Progress) -> None:
        assert progress.steps() == ()

    def draw(self, progress: Progress) -> None:
        self.drawn.append(progress.running())
        self.drawing.set()

    def close(self, progress: Progress, state: str) -> None:
        self.closed = f"{state}: {progress.done()}"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Recording:
    made = Recording()
    monkeypatch.setattr(live_view, "_screen", lambda: made)
    return made


def slowly(seconds: float = 0.3) -> Any:
    return rf.scripted("so " * 20 + "\\boxed{1}", latency=lambda request, index: seconds * (1 + 3 * (index > 1)))


def test_a_script_gets_the_output_without_waiting_for_it(screen: Recording) -> None:
    with dspy.context(lm=slowly()):
        out = show(Agreed().stream(problem="p"))
    assert out.answer == "1"
    assert screen.closed.startswith("finished: 2 ended, 2 cancelled")


def test_awaited_it_draws_while_the_run_runs_and_not_too_often(screen: Recording) -> None:
    async def main() -> Any:
        with dspy.context(lm=slowly(0.6)):
            return await show(Agreed().stream(problem="p"))

    out = asyncio.run(main())
    assert out.answer == "1"
    assert 1 <= len(screen.drawn) <= 0.6 / 0.25 + 3
    assert any(text.startswith("4 branches running") for text in screen.drawn)


def test_whoever_stops_waiting_cancels_the_run(screen: Recording) -> None:
    lm = slowly(20.0)

    async def main() -> int:
        with dspy.context(lm=lm):
            task = asyncio.ensure_future(show(Agreed().stream(problem="p")))
            await asyncio.wait_for(screen.drawing.wait(), 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        runtime = lm.engine.runtime
        return int((await runtime.arun(runtime.backend.counters)).running)

    assert asyncio.run(main()) == 0
    assert screen.closed.startswith("cancelled: 0 ended")


def test_it_raises_what_the_run_raises(screen: Recording) -> None:
    with dspy.context(lm=rf.scripted(ValueError("the engine is ill"))), pytest.raises(rf.ReasonFlowError):
        show(Agreed().stream(problem="p"))
    assert screen.closed.startswith("failed")


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(InputError, match=r"no stream of a run") as caught:
        show(Agreed())  # type: ignore[arg-type]
    assert "program.stream" in str(caught.value)


def test_a_notebook_is_redrawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    pages: list[str] = []

    class Handle:
        def update(self, page: Any) -> None:
            pages.append(page.data)

    def first(page: Any, *, display_id: bool) -> Handle:
        pages.append(page.data)
        return Handle()

    monkeypatch.setattr(display, "display", first)
    monkeypatch.setattr(live_view, "_screen", Notebook)
    with dspy.context(lm=slowly(0.6)):
        show(Agreed().stream(problem="<b>"))
    assert "waiting for the engine" in pages[0]
    assert any("4 running" in page for page in pages[1:-1])
    assert "2 ended, 2 cancelled" in pages[-1]
    assert "latest answer: <b>1</b>" in pages[-1]
    assert all("<script" not in page for page in pages)
    assert len(set(pages)) == len(pages), "an equal picture was sent twice"


def test_a_terminal_shows_the_steps_and_a_pipe_nothing() -> None:
    piped = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("answer 7\n", "")
    main_end, run_end = pty.openpty()
    run = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=run_end, text=True)
    os.close(run_end)
    seen = ""
    while True:
        try:
            seen += os.read(main_end, 4096).decode()
        except OSError:  # the other end is closed: the run is over
            break
    out, _ = run.communicate(timeout=60)
    os.close(main_end)
    assert out == "answer 7\n"
    assert "4 running" in seen
    assert "branches running" in seen


def test_an_answer_in_a_few_words() -> None:
    assert answer_text(Record({"reasoning": "long", "answer": "42"}, "text")) == "42"
    assert answer_text(dspy.Prediction(reasoning="long", answer="42")) == "42"
    assert answer_text("two\nlines") == "two lines"
    assert answer_text(None) == ""
    assert len(answer_text("x" * 1000)) == 200
