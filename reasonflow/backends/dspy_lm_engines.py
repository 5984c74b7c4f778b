"""One running engine per foreign language model: an LM, its copies and its equals share a runtime and its scheduler."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import astuple, dataclass
from typing import Any

import dspy
from dspy.utils.dummies import DummyLM

from reasonflow.backends.dspy_lm import MAX_RUNNING, DspyLmBackend, owns_its_calls, standing
from reasonflow.errors import BackendError, InputError
from reasonflow.plan.same import same
from reasonflow.runtime.runtime import Runtime

_HOSTING = "_reasonflow_hosting"
"""Where a language model carries what `hosted` was told; DSPy's copies take it along."""
_OF_EACH = frozenset({
    "history", "callbacks", "kwargs", "num_retries", "cache", "provider", "finetuning_model", "launch_kwargs",
    "train_kwargs", "_warned_zero_temp_rollout", "_engine_store", "_engine_lock",
})  # fmt: skip
"""Attributes in which language models differ that ask the same model."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How programs use a language model that is not ours."""

    max_running: int = MAX_RUNNING
    window: int | None = None
    seeds: bool = False


def hosted(
    lm: dspy.BaseLM, *, max_running: int = MAX_RUNNING, window: int | None = None, seeds: bool = False
) -> dspy.BaseLM:
    """Say how programs use a language model that is no engine of ours; returns it. Without this the defaults hold.

    max_running: calls under way at once. window: tokens of prompt and output together, where LiteLLM's map does not
    know the model. seeds: it repeats itself for equal seeds. Raises InputError for one of our own.
    """
    if isinstance(_ours(lm), Runtime):
        raise InputError(f"{lm.model!r} is an engine of ours", fix="give max_running and window to rf.vllm(...)")
    for name, number in (("max_running", max_running), ("window", window)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}", fix=f"give {name} a positive number")
    setattr(lm, _HOSTING, Hosting(max_running, window, seeds))
    return lm


def runtime_behind(lm: Any) -> Runtime | None:
    """Where programs on this language model run; None for what is none. Asking starts nothing."""
    own = _ours(lm)
    if isinstance(own, Runtime):
        return own
    return _foreign(lm).runtime if isinstance(lm, dspy.BaseLM) else None


def _ours(lm: Any) -> Any:
    return getattr(getattr(lm, "engine", None), "runtime", None)


class _Engine:
    """A runtime over one language model. It ends when the last LM that shares it is gone."""

    def __init__(self, lm: dspy.BaseLM) -> None:
        hosting: Hosting = getattr(lm, _HOSTING, Hosting())
        self._members: list[weakref.ref[dspy.BaseLM]] = []
        self._pid = os.getpid()
        find = self._member(self._members) if owns_its_calls(lm) else None
        self._backend = DspyLmBackend(
            lm, max_running=hosting.max_running, window=hosting.window, seeds=hosting.seeds, find=find
        )
        self.runtime = Runtime(self._backend)
        weakref.finalize(self, _close_aside, self.runtime).atexit = False
        self.join(lm)

    def join(self, lm: dspy.BaseLM) -> None:
        self._members[:] = [each for each in self._members if each() is not None]
        self._members.append(weakref.ref(lm))

    def serves(self, lm: dspy.BaseLM) -> bool:
        """Whether asking it is asking `lm`."""
        if self._backend.closed or self._pid != os.getpid():
            return False
        try:
            asked = self._backend.lm
        except BackendError:
            return False
        return type(asked) is type(lm) and same(_told(asked), _told(lm))

    @staticmethod
    def _member(members: list[weakref.ref[dspy.BaseLM]]) -> Any:
        def find() -> dspy.BaseLM:
            for each in members:
                if (found := each()) is not None:
                    return found
            raise BackendError(
                "the language model is gone", why="nothing holds it any more", fix="keep it while it runs"
            )

        return find


@dataclass(frozen=True, slots=True)
class _Held:
    lm: weakref.ref[dspy.BaseLM]
    engine: _Engine


_LOCK = threading.Lock()
_HELD: dict[int, _Held] = {}
"""By identity: not every language model can be hashed. An entry goes with its LM."""


def _foreign(lm: dspy.BaseLM) -> _Engine:
    key = id(lm)
    with _LOCK:
        held = _HELD.get(key)
        if held is not None and held.lm() is lm and held.engine.serves(lm):
            return held.engine
        engines = {id(each.engine): each.engine for each in _HELD.copy().values()}.values()
        engine = next((each for each in engines if each.serves(lm)), None)
        if engine is None:
            engine = _Engine(lm)
        else:
            engine.join(lm)
        _HELD[key] = _Held(weakref.ref(lm, lambda gone: _forget(key, gone)), engine)
        return engine


def _forget(key: int, gone: weakref.ref[dspy.BaseLM]) -> None:
    """Without the lock: it may be called wherever memory is collected."""
    held = _HELD.get(key)
    if held is not None and held.lm is gone:
        del _HELD[key]


def _told(lm: dspy.BaseLM) -> dict[str, Any]:
    """All that decides what answers, and how it may be asked."""
    found = {name: value for name, value in vars(lm).items() if name not in _OF_EACH}
    if isinstance(lm, DummyLM):  # its engines know their owner, and are made anew for every copy
        found = {name: value for name, value in found.items() if not name.endswith("engine_spec")}
    rest = {name: value for name, value in standing(lm).items() if value is not None}
    hosting = astuple(found.pop(_HOSTING, Hosting()))
    return {**found, _HOSTING: hosting, "kwargs": rest}


def _close_aside(runtime: Runtime) -> None:
    threading.Thread(target=runtime.close, name="reasonflow-close").start()
