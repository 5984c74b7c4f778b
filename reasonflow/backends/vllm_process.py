"""What a process needs around a vLLM engine: settings, a log file, and Ctrl-C kept away from it.

vLLM is configured through environment variables, writes to the standard streams, and starts processes that would import
the user's script again. All of that is arranged for the moments of a start only, and put back afterwards.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

_KEPT_LOGS = 20
_ENGINES = itertools.count(1)
_ROOT_CAUSE = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt)): (?P<message>\S.*)")
_LOG_FORMAT = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"


def cache_folder() -> Path:
    """Where ReasonFlow keeps what may be lost: `$XDG_CACHE_HOME/reasonflow`, else `~/.cache/reasonflow`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reasonflow"


def new_log_file() -> Path:
    """A fresh log file in the user's cache; the oldest of its kind are removed."""
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("vllm-*.log"), key=lambda path: path.name)[: -_KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    return folder / f"vllm-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_ENGINES)}.log"


@contextmanager
def starting(settings: Mapping[str, str], log: Path | None) -> Iterator[None]:
    """Arrangements for building an engine on the current thread: see the functions below, in this order."""
    with ExitStack() as stack:
        stack.enter_context(_environment(settings))
        stack.enter_context(_interrupts_blocked())
        stack.enter_context(_script_hidden())
        stack.enter_context(_tracebacks_kept())
        if log is not None:
            stack.enter_context(_quiet())
            stack.enter_context(_logging_to(log))
            stack.enter_context(_children_write_to(log))
        yield


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables for the engine's start. Afterwards all are as before: vLLM leaves an LD_PRELOAD behind, for one."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """SIGINT stays away from the processes started here: they inherit this thread's mask.

    The resource tracker of multiprocessing is started first, outside: it clears the mask of the thread that starts it.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Spawned processes do not run the user's script again, so that it needs no `if __name__ == "__main__"`."""
    main = sys.modules["__main__"]
    names = vars(main)
    before = {name: value for name, value in names.items() if name in ("__file__", "__spec__")}
    names.pop("__file__", None)
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(before)


@contextmanager
def _tracebacks_kept() -> Iterator[None]:
    """The user's tracebacks look as before: torch.distributed would put "[rank0]:" before each of their lines."""
    before = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Python warnings of the engine's own libraries are not the user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _logging_to(log: Path) -> Iterator[None]:
    """vLLM's logger writes to `log`, in this process and in those it starts; no other logger is touched."""
    configuration = log.with_suffix(".json")
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "plain", "encoding": "utf-8"}
    configuration.write_text(
        json.dumps(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"plain": {"format": _LOG_FORMAT}},
                "handlers": {"file": handler},
                "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
            }
        ),
        encoding="utf-8",
    )
    os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(configuration)  # `_environment` takes it back
    # What vLLM says while it is imported comes before it reads that file.
    logger = logging.getLogger("vllm")
    early = logging.FileHandler(log, encoding="utf-8")
    early.setFormatter(logging.Formatter(_LOG_FORMAT))
    logger.addHandler(early)
    logger.propagate = False
    try:
        yield
    finally:
        configuration.unlink(missing_ok=True)
        configured = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        if early not in configured or len(configured) > 1:  # vLLM has set up its own for the same file
            logger.removeHandler(early)
            early.close()


def close_log() -> None:
    """Close the files that vLLM's logger writes to."""
    logger = logging.getLogger("vllm")
    for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(logging.NullHandler())  # without any handler, late warnings would go to stderr


@contextmanager
def _children_write_to(log: Path) -> Iterator[None]:
    """Standard output and error of processes spawned here go to `log`.

    multiprocessing has no option for it. Only the descriptors at the very moment of a spawn are exchanged, a few
    milliseconds, so that what the user prints meanwhile stays where it belongs.
    """
    from multiprocessing import util

    spawn = util.spawnv_passfds

    def spawn_into_log(path, args, passfds):  # type: ignore[no-untyped-def]
        with log.open("ab") as file:
            saved = os.dup(1), os.dup(2)
            try:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                return spawn(path, args, passfds)
            finally:
                os.dup2(saved[0], 1)
                os.dup2(saved[1], 2)
                for descriptor in saved:
                    os.close(descriptor)

    util.spawnv_passfds = spawn_into_log
    try:
        yield
    finally:
        util.spawnv_passfds = spawn


def root_cause(error: BaseException, log: Path | None) -> str:
    """One line that says why an engine failed: from the error or, where that only points there, from the log."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "root cause" in str(error) and log is not None and log.is_file():
        found = _ROOT_CAUSE.findall(log.read_text(encoding="utf-8", errors="replace"))
        causes = [f"{kind}: {message}" for kind, message in found if "root cause" not in message]
        if causes:
            return causes[-1]
    for line in lines:
        if line.startswith("Value error, "):  # how pydantic wraps what vLLM's configuration says
            return line.removeprefix("Value error, ").split(" [type=")[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
