"""Running engines by what they were asked to be: equal specifications share one engine."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reasonflow.backends.protocol import Backend, Capabilities
from reasonflow.backends.secret import Secret
from reasonflow.errors import BackendError, UnknownName
from reasonflow.runtime.runtime import Runtime

Build = Callable[[str, Mapping[str, Any]], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What it takes to open an engine again, in another process too."""

    kind: str
    """A name in `KINDS`."""
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backend's keyword arguments."""
    instance: str = ""
    """Tells apart engines that must not be shared although their arguments are equal."""

    @property
    def key(self) -> str:
        """Equal for specifications that one engine can serve."""
        if self.instance:
            return f"{self.kind}:{self.instance}"
        return json.dumps([self.kind, self.model, dict(self.options)], sort_keys=True, default=repr)

    def to_json(self) -> dict[str, Any]:
        """Raises BackendError if an option has no JSON form, as a scripted function has none."""
        state = {"kind": self.kind, "model": self.model, "options": dict(self.options), "instance": self.instance}
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            if any(isinstance(value, Secret) for value in self.options.values()):
                raise BackendError(
                    f"this {self.kind} engine cannot be saved",
                    why="it holds an API key, which would stand in the clear",
                    fix='name the key by its environment variable: api_key_env="OPENAI_API_KEY" in place of api_key',
                ) from error
            raise BackendError(
                f"this {self.kind} engine cannot be saved",
                why=f"one of its options has no JSON form ({error})",
                fix="save the program without its language model and set it again after loading",
            ) from error
        return state

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> EngineSpec:
        if state.get("kind") not in KINDS:
            raise UnknownName.among("engine kind", str(state.get("kind")), KINDS)
        return cls(
            kind=state["kind"],
            model=state["model"],
            options=dict(state.get("options", {})),
            instance=state.get("instance", ""),
        )


class Engine:
    """One engine and its runtime. Nothing of it starts before the first request."""

    def __init__(self, spec: EngineSpec) -> None:
        """Raises what the backend raises for options it does not take."""
        self.spec = spec
        self._build = partial(KINDS[spec.kind], spec.model, spec.options)
        self._backend = self._build()
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Known without a runtime, also of an engine that was closed."""
        return self._backend.capabilities

    @property
    def runtime(self) -> Runtime:
        """Where work beside this engine runs. Asking for it starts nothing."""
        with self._lock:
            if self._runtime is None:
                if self._closed:
                    raise BackendError("this engine was closed", why="close() was called on it", fix="open it again")
                self._runtime = Runtime(self._backend, rebuild=self._build)
                # The last handle may be dropped on the runtime's own thread, which cannot wait for itself. At exit the
                # runtime's own hook comes first, when threads can no longer be started.
                weakref.finalize(self, _close_aside, self._runtime).atexit = False
            return self._runtime

    def close(self) -> None:
        """Stop the engine; an equal specification opens a new one. Idempotent."""
        with _LOCK:
            if _ENGINES.get(self.spec.key) is self:
                del _ENGINES[self.spec.key]
        with self._lock:
            self._closed, runtime = True, self._runtime
        if runtime is not None:
            runtime.close()


def engine_for(spec: EngineSpec) -> Engine:
    """The engine that serves this specification, shared with everyone who asked for the same."""
    with _LOCK:
        engine = _ENGINES.get(spec.key)
        if engine is None:
            engine = _ENGINES[spec.key] = Engine(spec)
        return engine


def _close_aside(runtime: Runtime) -> None:
    threading.Thread(target=runtime.close, name="reasonflow-close").start()


def _vllm(model: str, options: Mapping[str, Any]) -> Backend:
    from reasonflow.backends.vllm import VllmBackend

    return VllmBackend(model, **options)


def _scripted(model: str, options: Mapping[str, Any]) -> Backend:
    from reasonflow.backends.scripted import ScriptedBackend

    return ScriptedBackend(model=model, **options)


def _openai(model: str, options: Mapping[str, Any]) -> Backend:
    from reasonflow.backends.openai import OpenAIBackend

    return OpenAIBackend(model, **options)


KINDS: Mapping[str, Build] = {"vllm": _vllm, "openai": _openai, "scripted": _scripted}
"""How each kind of engine is built; the modules are imported only when one is."""

_LOCK = threading.Lock()
_ENGINES: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()
