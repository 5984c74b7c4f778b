"""What is arranged around a start is put back afterwards."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reasonflow.backends import vllm_process
from reasonflow.backends.vllm_process import cache_folder, new_log_file, root_cause, starting


def test_the_environment_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANGED", "before")
    monkeypatch.setenv("REMOVED", "before")
    before = dict(os.environ)
    with starting({"CHANGED": "now", "NEW": "1"}, tmp_path / "vllm.log"):
        assert (os.environ["CHANGED"], os.environ["NEW"]) == ("now", "1")
        os.environ["LD_PRELOAD"] = "left behind by the engine"
        del os.environ["REMOVED"]
    assert dict(os.environ) == before
    vllm_process.close_log()


def test_interrupts_are_blocked_meanwhile_and_the_script_is_hidden() -> None:
    main = sys.modules["__main__"]
    before = vars(main).get("__file__"), vars(main).get("__spec__")
    with starting({}, None):
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert not hasattr(main, "__file__")
        assert main.__spec__ is None
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert (vars(main).get("__file__"), vars(main).get("__spec__")) == before


def test_tracebacks_look_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.excepthook
    with starting({}, None):
        monkeypatch.setattr(sys, "excepthook", print)
    assert sys.excepthook is before


def test_the_engines_logger_writes_to_the_file_and_no_other_logger_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "vllm.log"
    root = list(logging.getLogger().handlers)
    with starting({}, log):
        logging.getLogger("vllm.platforms").warning("no CPU backend")
    logging.getLogger("vllm.core").warning("after the start")
    vllm_process.close_log()
    logging.getLogger("vllm.core").warning("after the end")
    assert logging.getLogger().handlers == root
    assert "no CPU backend" in log.read_text()
    assert "after the start" in log.read_text()
    assert capfd.readouterr().err == ""


def test_what_spawned_processes_print_goes_to_the_log(tmp_path: Path) -> None:
    script = (
        "import multiprocessing, os, sys\n"
        "from pathlib import Path\n"
        "from reasonflow.backends.vllm_process import starting\n"
        "with starting({}, Path(sys.argv[1])):\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    process = spawn.Process(target=os.system, args=('echo noise; echo worse >&2',))\n"
        "    process.start()\n"
        "    print('mine', flush=True)\n"
        "    process.join()\n"
    )
    file = tmp_path / "script.py"  # without a guard: hiding the script keeps the child from running it again
    file.write_text(script)
    log = tmp_path / "vllm.log"
    done = subprocess.run(
        [sys.executable, str(file), str(log)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")
    assert log.read_text().split() == ["noise", "worse"]


def test_the_cache_follows_the_desktop_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "reasonflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "reasonflow"


def test_old_logs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = new_log_file()
    for number in range(30):
        (first.parent / f"vllm-20200101-0000{number:02}-1-1.log").write_text("old")
    new_log_file().write_text("new")
    left = sorted(first.parent.iterdir())
    assert len(left) == 20
    assert left[-1].read_text() == "new"


def test_the_root_cause_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text(
        "INFO loading\nTraceback (most recent call last):\n  File x\nValueError: 1.5 GiB KV cache is needed\n"
        "ERROR RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    pointing = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    assert root_cause(pointing, log) == "ValueError: 1.5 GiB KV cache is needed"
    assert root_cause(pointing, None).startswith("RuntimeError: Engine core")
    wrapped = ValueError("1 validation error for ModelConfig\n  Value error, no such thing [type=value_error, x]\n")
    assert root_cause(wrapped, None) == "no such thing"
    assert root_cause(OSError(), None) == "OSError: no message"
