"""A limit that processes keep together, tried with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reasonflow.backends.openai import OpenAIBackend
from reasonflow.backends.protocol import Prompt, Request
from reasonflow.backends.shared_limit import SharedLimit
from reasonflow.errors import BackendError, InputError
from tests.reasonflow.backends.openai_server import OpenAIServer

CLIENT = """
import asyncio, sys
from reasonflow.backends.openai import OpenAIBackend
from reasonflow.backends.protocol import Prompt, Request

async def main(base_url, samples):
    backend = OpenAIBackend("m", base_url=base_url, limit=3)
    request = Request(prompt=Prompt(messages=({"role": "user", "content": "q"},)), n=samples)
    await asyncio.gather(*(backend.generate(request) for _ in range(8)))
    await backend.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
print("done")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def client(server: OpenAIServer, samples: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CLIENT, server.base_url, str(samples)], stdout=-1, text=True)


def test_two_processes_keep_one_limit_and_both_come_to_their_end() -> None:
    with OpenAIServer(latency_s=0.1) as server:
        clients = [client(server, 1), client(server, 2)]
        assert [one.communicate(timeout=60)[0] for one in clients] == ["done\n", "done\n"]
        assert sum(request.get("n", 1) for request in server.requests) == 8 + 16
        assert server.most_running == 3


def test_a_killed_process_gives_its_slots_back() -> None:
    with OpenAIServer(latency_s=60) as server:
        holder = client(server, 3)
        deadline_s = time.monotonic() + 30
        while server.running < 3 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert server.running == 3
        server.latency_s = 0.0

        async def ask() -> float:
            backend = OpenAIBackend("m", base_url=server.base_url, limit=3)
            request = Request(prompt=Prompt(messages=({"role": "user", "content": "q"},)))
            call = asyncio.create_task(backend.generate(request))
            await asyncio.sleep(0.3)
            assert not call.done()
            holder.send_signal(signal.SIGKILL)
            began_s = time.monotonic()
            await asyncio.wait_for(call, 20)
            await backend.aclose()
            return time.monotonic() - began_s

        try:
            assert asyncio.run(ask()) < 5
        finally:
            holder.kill()
            holder.communicate(timeout=20)


def test_large_and_small_requests_of_two_holders_both_make_progress() -> None:
    async def work() -> dict[str, int]:
        limits = {name: SharedLimit("x", 4) for name in ("small", "large")}
        served = dict.fromkeys(limits, 0)
        inside = most = 0

        async def go(name: str, count: int) -> None:
            nonlocal inside, most
            async with limits[name].slots(count):
                inside += count
                most = max(most, inside)
                await asyncio.sleep(0.002)
                inside -= count
            served[name] += 1

        async def keep(name: str, count: int) -> None:
            while min(served.values()) < 5:
                await go(name, count)

        async with asyncio.timeout(60):
            await asyncio.gather(*(keep("small", 1) for _ in range(12)), *(keep("large", 4) for _ in range(2)))
        assert most == 4
        for limit in limits.values():
            limit.close(BackendError("closed"))
        return served

    assert min(asyncio.run(work()).values()) >= 5


def test_a_waiter_that_is_cancelled_or_closed_leaves_the_line() -> None:
    async def work() -> None:
        one, other = SharedLimit("x", 2), SharedLimit("x", 2)
        async with one.slots(1):
            waiting = [asyncio.create_task(other._acquire(2)), asyncio.create_task(other._acquire(1))]
            await asyncio.sleep(0.05)
            waiting[0].cancel()  # it held one slot of two, and the turn
            assert len(await asyncio.wait_for(waiting[1], 5)) == 1
            stuck = asyncio.create_task(one._acquire(1))
            await asyncio.sleep(0.05)
            one.close(BackendError("closed"))
            with pytest.raises(BackendError, match="closed"):
                await stuck
        assert not one._files
        with pytest.raises(InputError, match="3 slots of 2"):
            async with other.slots(3):
                pass

    asyncio.run(work())


def test_a_folder_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / f"reasonflow-limits-{os.getuid()}").symlink_to(elsewhere)

    async def work() -> None:
        async with SharedLimit("x", 1).slots(1):
            pass

    with pytest.raises(BackendError, match="TMPDIR"):
        asyncio.run(work())
