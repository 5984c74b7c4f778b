"""Why an engine takes no more requests, in words that say what to do."""

from __future__ import annotations

from reasonflow.errors import EngineDead

_MEMORY = ("out of memory", "OutOfMemory", "MemoryError", "can't allocate memory", "Cannot allocate memory")
"""How torch, CUDA, Python and Linux say that memory ran out."""


_LESS_MEMORY = "open it with a smaller max_num_seqs, max_model_len or kv_cache_gib (gpu_memory_utilization on a GPU)"


def closed() -> EngineDead:
    """Somebody closed it."""
    error = EngineDead("this engine was closed", why="close() was called on it", fix="open it again with rf.vllm(...)")
    error.restartable = False
    return error


def crashed(cause: BaseException, why: str = "") -> EngineDead:
    """A step failed, or the engine's process ended. why: what is known beyond the error's own last line."""
    if isinstance(cause, EngineDead):
        return cause
    lines = str(cause).strip().splitlines()
    why = why or f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"
    fix = "open it again; if it happens again, run `reasonflow doctor`"
    if any(word in f"{why} {cause}" for word in _MEMORY):
        why = f"memory ran out in a step ({why})"
        fix = _LESS_MEMORY
    error = EngineDead("the engine stopped in the middle of its work", why=why, fix=fix)
    error.__cause__ = cause
    return error


def killed(signal: int) -> EngineDead:
    """Its process was ended by a signal."""
    return EngineDead(
        "the engine stopped in the middle of its work",
        why=f"its process was killed by signal {signal}"
        + (": by hand, or by the system because memory ran out" if signal == 9 else ""),
        fix=f"if it was the memory, {_LESS_MEMORY}" if signal == 9 else "open it again",
    )


def hung(silent_s: float, *, in_process: bool) -> EngineDead:
    """It has work and finishes no step."""
    error = EngineDead(
        f"the engine hangs: it has work and has finished no step for {silent_s:.0f} s",
        why="it runs on a thread of this process, which cannot be stopped" if in_process else "its process was killed",
        fix="restart this Python process"
        if in_process
        else "if its steps are really that long, open it with a larger step_timeout_s; else run `reasonflow doctor`",
    )
    error.restartable = not in_process
    return error
