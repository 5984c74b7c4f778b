"""The log of finished calls: what is kept is found by the next session, whatever happens to the file meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.backends.protocol import Completion, TokenLogprobs, ToolCall
from reasonflow.errors import InputError
from reasonflow.evals import journal
from reasonflow.evals.journal import FILE, CallLog

WHOLE = Completion(
    text="a\n“b”\ud800",  # a lone surrogate is no UTF-8, and a model can write half a character
    tokens=(1, 2, 3),
    output_tokens=3,
    prompt_tokens=7,
    cached_tokens=4,
    finish_reason="length",
    queued_s=0.25,
    first_token_s=0.5,
    total_s=1.5,
    logprobs=(TokenLogprobs("a", -0.5, (("a", -0.5), (" b", -1.25))),),
    tool_calls=(ToolCall("call-1", "search", '{"query": "rivers"}'),),
)


def completion(text: str) -> Completion:
    return Completion(text=text, output_tokens=len(text), prompt_tokens=1)


def write(folder: Path, *calls: tuple[str, int, str, str]) -> Path:
    """Calls as (problem, sample, key, text)."""
    log = CallLog(folder).open()
    for problem, sample, key, text in calls:
        log.keep((problem, sample), key, completion(text))
    log.close()
    return log.path


def test_all_of_a_completion_comes_back(tmp_path: Path) -> None:
    log = CallLog(tmp_path).open()
    log.journal(("p", 1)).keep("draft/0", WHOLE)
    log.close()
    again = CallLog(tmp_path).open()
    assert again.journal(("p", 1)).find("draft/0") == WHOLE
    assert again.journal(("p", 1)).find("draft/1") is None
    assert again.journal(("p", 0)).find("draft/0") is None
    again.close()


def test_a_call_is_with_the_kernel_when_keep_returns(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from reasonflow.backends.protocol import Completion
from reasonflow.evals.journal import CallLog
call = Completion(text="x", output_tokens=1, prompt_tokens=1)
CallLog(Path(sys.argv[1])).open().keep(("p", 0), "k", call)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    log = CallLog(tmp_path).open()
    assert log.find(("p", 0), "k") == completion("x")
    log.close()


@settings(deadline=None)
@given(st.data())
def test_a_cut_anywhere_loses_one_call_at_most(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), *((str(n), 0, "k", "x" * n) for n in range(4)))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        log = CallLog(Path(name)).open()
        left = whole[:cut].count(b"\n")
        assert [log.find((str(n), 0), "k") for n in range(4)] == [
            completion("x" * n) if n < left else None for n in range(4)
        ]
        log.keep(("new", 0), "k", completion("new"))
        log.close()
        log = CallLog(Path(name)).open()
        assert log.find(("new", 0), "k") == completion("new")
        log.close()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{broken", "not valid JSON"),
        ("[]", "instead of an object"),
        ('{"id": "a", "sample": 0}', "not a call"),
        ('{"id": "a", "sample": 0, "key": "k", "completion": {"text": "x"}}', "not a call"),
    ],
)
def test_a_damaged_line_is_named_and_the_way_out_too(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path, ("a", 0, "k", "x"))
    path.write_text(path.read_text() + line + "\n" + path.read_text())
    with pytest.raises(InputError, match=says) as caught:
        CallLog(tmp_path).open()
    assert f"{path}:2" in str(caught.value)
    assert f"remove {path}" in caught.value.fix


def test_calls_of_recorded_samples_are_dropped_at_the_next_opening(tmp_path: Path) -> None:
    path = write(tmp_path, ("a", 0, "k", "xx"), ("a", 1, "k", "y"), ("b", 0, "k", "z"), ("a", 0, "l", "xx"))
    log = CallLog(tmp_path).open([("a", 0)])
    assert [json.loads(line)["completion"]["text"] for line in path.read_text().splitlines()] == ["y", "z"]
    assert log.find(("a", 0), "k") is None
    assert log.find(("b", 0), "k") == completion("z")
    log.keep(("b", 0), "l", completion("more"))
    assert log.find(("b", 0), "l") == completion("more")
    log.close()
    assert len(path.read_text().splitlines()) == 3
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_what_a_crash_while_compacting_leaves_is_no_obstacle(tmp_path: Path) -> None:
    path = write(tmp_path, ("a", 0, "k", "x"), ("b", 0, "k", "y"))
    path.with_suffix(".tmp").write_text('{"half')
    log = CallLog(tmp_path).open([("a", 0)])
    log.close()
    assert len(path.read_text().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_long_evaluation_compacts_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "COMPACT_BYTES", 2_000)
    log = CallLog(tmp_path).open()
    log.keep(("slow", 0), "k", completion("s"))
    for number in range(100):
        for call in range(3):
            log.keep((str(number), 0), str(call), completion("x" * 100))
        log.finish((str(number), 0))
        assert log.path.stat().st_size < 5_000
    assert log.find(("slow", 0), "k") == completion("s")
    log.close()


def test_a_complete_evaluation_leaves_no_calls(tmp_path: Path) -> None:
    log = CallLog(tmp_path).open()
    log.keep(("a", 0), "k", completion("x"))
    log.close(complete=True)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CallLog(tmp_path).open()
    log.keep(("a", 0), "k", completion("x"))
    write, room = os.write, iter([20])

    def full(fd: int, data: bytes) -> int:
        for left in room:
            return write(fd, data[:left])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InputError, match="cannot write"):
        log.keep(("a", 0), "l", completion("y"))
    monkeypatch.undo()
    log.keep(("a", 0), "m", completion("z"))
    log.close()
    again = CallLog(tmp_path).open()
    assert [again.find(("a", 0), key) for key in "klm"] == [completion("x"), None, completion("z")]
    again.close()


def test_several_engines_may_write_at_once(tmp_path: Path) -> None:
    log = CallLog(tmp_path).open()

    def work(number: int) -> None:
        for call in range(50):
            log.keep((str(number), 0), str(call), completion(f"{number}-{call}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    again = CallLog(tmp_path).open()
    for number in range(4):
        for call in range(50):
            assert again.find((str(number), 0), str(call)) == completion(f"{number}-{call}")
    again.close()
