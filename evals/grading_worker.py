"""A process that compares answers by computer algebra, and may be killed at any time.

It stands alone: the grader starts this file by its path, so that a worker loads a computer algebra system and nothing
else. One JSON object a line comes in, one goes out:

    in   {"kind": "math", "answer": "2x", "expected": "x+x", "limit_s": 5.0}
    in   {"kind": "generated", "answer": "4", "limit_s": 5.0,
          "origin": {"dataset": ..., "options": ..., "size": ..., "seed": ..., "index": ...}}
    out  {"correct": true, "reason": ""}

A comparison that takes longer than its limit is ended by the kernel, together with the process: sympy can sit in C code
for hours, where no Python exception reaches it. The same alarm ends a worker whose parent has died meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

NOT_PARSED = "not parsed"
START_LIMIT_S = 120.0
"""Importing takes a second; on a machine busy with an engine's start it took ten."""


def main(memory_bytes: int) -> None:
    """Answer requests until the input ends."""
    # Libraries print to stdout; the protocol keeps a descriptor of its own.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(ValueError, OSError):  # a lower limit set from outside already holds
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})  # masks are inherited
    signal.setitimer(signal.ITIMER_REAL, START_LIMIT_S)
    import logging

    logging.disable(logging.CRITICAL)  # math-verify warns that it runs without its own time limit: ours is harder
    import math_verify  # noqa: F401  # before the first request, so that its seconds count against no answer

    # From here on nobody reads what libraries print: a full pipe would stop the worker.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    _send(replies, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["kind"] == "generated":
            import reasoning_gym  # noqa: F401  # before the clock starts: its second counts against no answer
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
        reply = _answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _send(replies, reply)


def _send(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """The verdict; an exception of the libraries is one, too: the answer is not something they can read."""
    try:
        if request["kind"] == "generated":
            return _generated(request["answer"], request["origin"])
        return _math(request["answer"], request["expected"])
    except MemoryError:
        return {"correct": False, "reason": "out of memory"}
    except Exception as error:  # sympy raises whatever its input makes it raise
        return {"correct": False, "reason": f"{NOT_PARSED}: {type(error).__name__}"}


def _math(answer: str, expected: str) -> dict[str, Any]:
    from math_verify import parse, verify

    gold = parse(f"\\boxed{{{expected}}}", parsing_timeout=None)
    given = parse(f"\\boxed{{{answer}}}", parsing_timeout=None)
    correct = bool(verify(gold, given, timeout_seconds=None))
    if correct:
        return {"correct": True, "reason": ""}
    # A parse that holds only the text itself is no mathematics.
    if all(isinstance(value, str) for value in gold):
        return {"correct": False, "reason": f"{NOT_PARSED}: the expected answer"}
    return {"correct": False, "reason": NOT_PARSED if all(isinstance(value, str) for value in given) else ""}


def _generated(answer: str, origin: dict[str, Any]) -> dict[str, Any]:
    """The generator's own verdict. Entries are made again from their origin: not all of them survive JSON."""
    entry = origin["index"]
    dataset = _dataset(json.dumps({key: value for key, value in origin.items() if key != "index"}))
    score = float(dataset.score_answer(answer=answer, entry=dataset[entry]))
    return {"correct": score >= 1.0, "reason": "" if score >= 1.0 else f"scored {score:.2f}"}


@lru_cache(maxsize=4)  # some generators read word lists when they are made
def _dataset(origin: str) -> Any:
    import reasoning_gym

    made = json.loads(origin)
    return reasoning_gym.create_dataset(made["dataset"], size=made["size"], seed=made["seed"], **made["options"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
