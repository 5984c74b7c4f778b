"""The engines of one run: each call site has the one behind its language model; the run lives beside the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dspy

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.backends.protocol import Backend
from reasonflow.language.program import Traced
from reasonflow.plan.nodes import Generate, Plan
from reasonflow.runtime.calls import runtime_of
from reasonflow.runtime.price import Price, Prices, price_of
from reasonflow.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Engines:
    """Of a plan whose call sites are bound."""

    of: Mapping[str, Runtime]
    """By call site, in the plan's order."""
    home: Runtime
    """The engine on whose loop the run lives: the first call's."""

    @property
    def all(self) -> tuple[Runtime, ...]:
        """Each once, the home first."""
        return tuple(dict.fromkeys((self.home, *self.of.values())))

    @property
    def backends(self) -> dict[str, Backend]:
        """By call site: the engines of now, others after a restart."""
        return {name: runtime.backend for name, runtime in self.of.items()}

    @property
    def window(self) -> int | None:
        """The largest, which bounds every call; None where one of them knows none."""
        return widest(runtime.backend for runtime in self.all)

    async def start(self) -> None:
        """Make them ready."""
        for runtime in self.all:
            await runtime.arun(runtime.backend.start)

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Of the call sites that are not at home, by site."""
        away = {name: runtime for name, runtime in self.of.items() if runtime is not self.home}
        return {name: dict(runtime.backend.fingerprint()) for name, runtime in away.items()}

    def prices(self, traced: Traced) -> Prices:
        """What they cost. Raises InputError where that is not known of one."""
        lms = {self.of[name]: traced.bindings[name].lm for name in self.of} or {self.home: traced.lm}
        return Prices({runtime: price_behind(lm) for runtime, lm in lms.items()})


def engines_of(traced: Traced, plan: Plan) -> Engines:
    """Raises BackendError where a call site has no language model."""
    sites = [node.op.site.name for node in plan.walk() if isinstance(node.op, Generate)]
    of = {name: runtime_of(traced.bindings[name].lm, name) for name in sites}
    return Engines(of, next(iter(of.values())) if of else runtime_of(traced.lm, traced.name))


def known_backends(traced: Traced, plan: Plan) -> dict[str, Backend]:
    """As far as there are any: a plan can be explained without. Starts nothing."""
    sites = [node.op.site.name for node in plan.walk() if isinstance(node.op, Generate)]
    found = {name: backend_behind(traced.bindings[name].lm) for name in sites}
    return {name: backend for name, backend in found.items() if backend is not None}


def backend_behind(lm: dspy.BaseLM | None) -> Backend | None:
    """The engine of now behind a language model; None where there is none. Nothing starts."""
    runtime = runtime_behind(lm)
    return None if runtime is None else runtime.backend


def model_behind(lm: dspy.BaseLM | None) -> str:
    """Which model a language model is: a hash of its files, or its name; empty where there is no engine."""
    backend = backend_behind(lm)
    known = {} if backend is None else backend.fingerprint()
    return known.get("model_hash") or known.get("model", "")


def price_behind(lm: dspy.BaseLM | None) -> Price:
    """What its tokens or its hours cost. Raises InputError where nobody knows."""
    backend = backend_behind(lm)
    name = str(getattr(lm, "model", "no model")) if backend is None else backend.model
    return price_of(name, getattr(getattr(lm, "engine", None), "settings", {}).get("dollars_per_hour"))


def widest(backends: Iterable[Backend | None]) -> int | None:
    """The largest window; None where there is no engine, or where one of them or its window is unknown."""
    windows = [None if backend is None else backend.window for backend in backends]
    return None if not windows or None in windows else max(window for window in windows if window is not None)


def notes(backends: Mapping[str, Backend]) -> tuple[str, ...]:
    """What people should know of the engines behind these call sites: what they lack, and that there are several."""
    found = []
    distinct = {id(backend): backend for backend in backends.values()}
    for backend in distinct.values():
        lacks = backend.fingerprint().get("lacks", "")
        where = "the engine" if len(distinct) == 1 else repr(backend.model)
        found += [f"{where} lacks: {lacks}"] * bool(lacks)
    if len(distinct) > 1:
        found.append("engines: " + ", ".join(f"{name} on {backend.model!r}" for name, backend in backends.items()))
    return tuple(found)
