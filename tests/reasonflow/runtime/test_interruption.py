"""Whole processes that are interrupted, forked, or end in the middle of a run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

COMMON = """
import asyncio, os, sys, threading, time
from reasonflow.backends.protocol import Prompt, Request
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import BackendError
from reasonflow.runtime.runtime import Runtime

backend = ScriptedBackend(["a text of some words"], latency=60.0)
runtime = Runtime(backend)
request = Request(prompt=Prompt(messages=({"role": "user", "content": "hi"},)), n=3)

def ask():
    return runtime.run(lambda: runtime.generate(request))
"""


def start(folder: Path, body: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(COMMON + body)
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def read(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def rest(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """(output not yet read, errors, exit status), after its end."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        return process.stdout.read(), process.stderr.read(), process.wait(30)


def test_ctrl_c_waits_until_the_samples_have_left_and_the_engine_stays(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
threading.Timer(0.5, lambda: print("running", backend.running(), flush=True)).start()
try:
    ask()
except KeyboardInterrupt:
    print("interrupted", backend.running(), flush=True)
backend._latency = None
print(len(ask()), flush=True)
""",
    )
    read(process, "running 3")
    process.send_signal(signal.SIGINT)
    assert rest(process) == ("interrupted 0\n3\n", "", 0)


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
async def stubborn():
    try:
        print("running", flush=True)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        await asyncio.to_thread(time.sleep, 3)
        raise
try:
    runtime.run(stubborn)
except KeyboardInterrupt:
    print("left", flush=True)
try:
    ask()
except BackendError as error:
    print(error.what, flush=True)
""",
    )
    read(process, "running")
    process.send_signal(signal.SIGINT)
    read(process, "cancelled")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    read(process, "left")
    assert time.monotonic() - began < 2
    assert rest(process) == ("this engine was closed\n", "", 0)


def test_a_forked_child_is_refused_and_leaves_the_parents_engine_alone(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
backend._latency = None
ask()
child = os.fork()
if child == 0:
    try:
        ask()
    except BackendError as error:
        print(error.what, flush=True)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(ask()), flush=True)
""",
    )
    assert rest(process) == ("this engine belongs to the parent process\n7 3\n", "", 0)


def test_the_interpreter_ends_silently_while_daemon_threads_wait_for_runs(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
def for_ever():
    while True:
        ask()

async def for_ever_async():
    while True:
        await runtime.arun(lambda: runtime.generate(request))

threading.Thread(target=for_ever, daemon=True).start()
threading.Thread(target=lambda: asyncio.run(for_ever_async()), daemon=True).start()
time.sleep(0.3)
print("running", backend.running(), flush=True)
""",
    )
    assert rest(process) == ("running 6\n", "", 0)
