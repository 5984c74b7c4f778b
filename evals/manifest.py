"""What an evaluation is made of, so that a folder never mixes samples of two different ones."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, digest
from reasonflow.evals.provenance import commit, versions
from reasonflow.language.artifact import layouts_of, temperatures_of
from reasonflow.plan.budget import Budget
from reasonflow.runtime.measured import state_of

FILE = "manifest.json"
LOCK = ".lock"
Manifest: TypeAlias = dict[str, Any]
"""Plain JSON: what must be equal for a run to be resumed."""


def describe(
    program: dspy.Module,
    problems: Sequence[Problem],
    *,
    lm: dspy.LM,
    samples: int,
    seed: int,
    benchmark: str = "",
    settings: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
) -> Manifest:
    """The fingerprint of an evaluation.

    budget: of each run. What all may spend together is no part of it: a larger one goes on where a smaller one ended.
    """
    return {
        "program": f"{type(program).__module__}.{type(program).__qualname__}",
        "settings": {name: _plain(value) for name, value in (settings or {}).items()},
        "state": state_of(program),
        **({"layouts": layouts} if (layouts := layouts_of(program)) else {}),
        **({"temperatures": found} if (found := temperatures_of(program)) else {}),
        "signature": {name: str(predictor.signature.signature) for name, predictor in program.named_predictors()},
        "benchmark": benchmark,
        "problems": len(problems),
        "problems_digest": digest(problems),
        "samples": samples,
        "seed": seed,
        "budget": None if budget is None or not budget.limits else budget.limits,
        "model": lm.model,
        "sampling": {
            name: _plain(value) for name, value in sorted(lm.kwargs.items()) if name not in ("seed", "api_key")
        },
        "engine": _engine(lm),
        "versions": versions(("reasonflow", "dspy", "math-verify", "reasoning-gym")),
        "commit": commit(),
    }


def write_or_match(folder: Path, manifest: Manifest) -> None:
    """Leave the manifest in a new folder, or see that the folder holds samples of the very same evaluation.

    Raises InputError saying what differs.
    """
    path = folder / FILE
    manifest = json.loads(json.dumps(manifest))  # tuples become lists, as they will be read again
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)  # a half-written manifest would lock the folder out for ever
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged", why=str(error), fix="give another folder with --out, or remove this one"
        ) from error
    changed = list(differences(before, manifest))
    if changed:
        raise InputError(
            f"{folder} holds samples of another evaluation",
            why="; ".join(changed[:8]),
            fix="repeat the earlier command to go on, give another folder with --out, or remove this one",
        )


def differences(before: Any, now: Any) -> Iterator[str]:
    """What differs between two manifests, one phrase each."""
    for path, was, is_now in changes(before, now):
        yield f"{path} was {shortened(was)}, now {shortened(is_now)}"


def changes(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(where, before, now) of everything that differs; the parts of objects one by one."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from changes(before.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif before != now:
        yield path, before, now


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder for this process alone; it is made if need be. Raises InputError while another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write into {folder}", why=str(error), fix="give a folder of your own with --out"
        ) from error
    with file:
        try:
            # The kernel drops it with the process, however that ends: no stale lock is ever left.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"another evaluation is writing to {folder}",
                why=f"its process id is {owner}",
                fix="wait for it to end, or give another folder with --out",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _engine(lm: dspy.LM) -> dict[str, str]:
    """What the engine is, whether or not it has started: a resumed evaluation may be the first of its process."""
    runtime = runtime_behind(lm)
    return {} if runtime is None else dict(runtime.identity)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None), list, tuple)) else repr(value)


def shortened(value: Any) -> str:
    """A value as JSON, 80 characters at most."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
