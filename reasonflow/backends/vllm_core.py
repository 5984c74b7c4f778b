"""The processes in which vLLM computes: noticing their death, ending them, leaving them alone in forked children."""

from __future__ import annotations

import ctypes
import multiprocessing.process
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasonflow.backends.deaths import crashed, killed
from reasonflow.backends.vllm_process import root_cause
from reasonflow.errors import EngineDead

_LAST_WORDS_S = 5.0
"""How long a process that reported its failure may take to end: its exit code says whether it was killed."""


class CoreProcesses:
    """The core of one engine, where it does not live in this process."""

    def __init__(self, client: Any, log: Path | None) -> None:
        """client: vLLM's synchronous one. log: where the processes write."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._dead_error = EngineDeadError
        self._processes = list(client.resources.engine_manager.processes)
        self._log = log
        self._watch(client.outputs_queue)

    def kill(self) -> None:
        """End them at once. From any thread."""
        from vllm.utils.system_utils import kill_process_tree

        for process in self._processes:
            if process.is_alive() and process.pid is not None:
                kill_process_tree(process.pid)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """What vLLM raises when its core has died leaves as EngineDead, with the reason."""
        try:
            yield
        except self._dead_error as error:
            raise self._reason(error) from error

    def _reason(self, error: Exception) -> EngineDead:
        for process in self._processes:
            process.join(_LAST_WORDS_S)
            if (process.exitcode or 0) < 0:
                return killed(-process.exitcode)
        return crashed(error, root_cause(error, self._log))

    def _watch(self, outputs: Any) -> None:
        """End the wait for outputs when a process dies: vLLM's synchronous client would wait for ever."""
        from multiprocessing.connection import wait

        sentinels, error = [process.sentinel for process in self._processes], self._dead_error

        def watch() -> None:
            wait(sentinels)
            outputs.put(error())

        threading.Thread(target=watch, name="reasonflow-core-watch", daemon=True).start()


_CHILDREN: set[Any] = getattr(multiprocessing.process, "_children", set())
"""Processes that multiprocessing waits for when this one exits."""
OPEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""vLLM's engines in this process."""


def _leave_to_the_parent() -> None:
    """In a forked child: what vLLM and torch run at exit would end the parent's engines, or crash."""
    for engine in list(OPEN):
        client = engine.engine_core
        manager = getattr(getattr(client, "resources", None), "engine_manager", None)
        for owner in (engine, client, manager):
            finalizer = getattr(owner, "_finalizer", None)
            if isinstance(finalizer, weakref.finalize):
                finalizer.detach()
        for process in getattr(manager, "processes", ()):
            _CHILDREN.discard(process)
    distributed = sys.modules.get("torch.distributed.distributed_c10d")
    for group in list(getattr(getattr(distributed, "_world", None), "pg_map", ())):
        # A group's destructor joins threads that the child does not have: it must never run here.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


os.register_at_fork(after_in_child=_leave_to_the_parent)
