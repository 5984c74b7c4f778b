"""`Generate`: one place in a program where a language model is called."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar

import dspy
from pydantic_core import PydanticUndefined

from reasonflow.backends.protocol import Sampling
from reasonflow.errors import InputError, ProgramError, UnknownName
from reasonflow.gates.confidence import PrefixScore
from reasonflow.gates.gate import is_threshold
from reasonflow.language.choices import resolve
from reasonflow.language.refs import Ref, state_of
from reasonflow.language.signatures import read_signature
from reasonflow.language.tracing import Binding, Tracer, tracer
from reasonflow.plan.check import MAX_WIDTH
from reasonflow.plan.nodes import Generate as GenerateOp
from reasonflow.plan.nodes import Site
from reasonflow.plan.shapes import ListShape, RecordShape, Shape
from reasonflow.prompts import verdict
from reasonflow.prompts.layouts import Layout, Order, check_order
from reasonflow.prompts.styles import Style, choose_style, effective_signature
from reasonflow.runtime.seeds import run_seed

_SAMPLING = {field.name for field in dataclass_fields(Sampling)}
FLOOR_TOKENS = 64
"""Fewer output tokens hold a short answer at best."""
_SEEDING = {"seed", "rollout_id"}
_LEAST = {"temperature": 0, "max_tokens": 1, "min_tokens": 0, "top_p": 0, "min_p": 0}
"""The least number of each sampling option that has one."""


class Generate(dspy.Predict):
    """One LM call site. DSPy's optimizers find it, tune its instructions and demos, save and load it.

    signature: any DSPy signature.
    style: how the answer is asked for and read. "boxed" (the default where the only output is a string): reasoning as
        text, then the answer in a box; the signature gains a `reasoning` output so that demos teach reasoning. "text":
        the whole text is the output. "fields": the DSPy adapter's own format. "verdict": Yes or No; the single output,
        a float, is the probability of Yes out of both, read from the log-probabilities of that word.
    config: sampling settings (temperature, top_p, top_k, min_p, max_tokens, stop, seed, ...); the same may be given
        as keywords.
    solution_tokens: how much of a record's text flows into later prompts, counted from its end; None: all of it.
    retries: how often a completion that cannot be parsed is asked for again.
    floor_tokens, weight: under a budget, the output tokens it gets at least, and its share relative to other calls.
    watch: what is computed of its samples while they are written (`GroupConfidence()`), for `stop_below=` of a call. It
        stands in every record as `watched_score`. Needs an engine that reports log-probabilities: others are refused
        with an InputError before anything is asked.
    layout: the order of its prompt's parts. "shared": what other calls read too stands in front, so that the engine
        computes it once. "dspy": instructions and demos in front, as DSPy has them. "auto", the default: what its
        program's `layout` says; where that is "auto" as well, shared, with the demos in front where they are longer.

    Inside a plan, calling it with the signature's inputs gives one record; with `n=` a list of n records, also for n=1,
    of which `min_branches=` must be there: a list with fewer fails its step. `stop_below=`, a number that the run may
    compute: a sample whose `watch` has fallen below it is taken out of the engine, and is a hole. None ends none.
    Outside a plan it runs by itself. Raises UnknownName for an unknown option or field.
    """

    continues: ClassVar[bool] = False
    """Whether its records are contexts to go on from: see `Continue`."""
    unmarked: tuple[str, ...] = ()
    begins: bool = True

    def __init__(
        self,
        signature: str | type[dspy.Signature],
        *,
        style: Style | None = None,
        config: dict[str, Any] | None = None,
        solution_tokens: int | None = None,
        retries: int = 0,
        floor_tokens: int = FLOOR_TOKENS,
        weight: float = 1.0,
        layout: Order = "auto",
        watch: PrefixScore | None = None,
        **options: Any,
    ) -> None:
        settings = {**(verdict.SETTINGS if style == "verdict" else {}), **(config or {}), **options}
        _check_settings(settings)
        if solution_tokens is not None:
            _check_least("solution_tokens", solution_tokens, 1)
        _check_least("retries", retries, 0)
        _check_least("floor_tokens", floor_tokens, 1)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise InputError(f"weight={weight!r} is out of range", fix="give a number above 0")
        declared = read_signature(signature)
        self.style = choose_style(declared, style)
        self.solution_tokens = solution_tokens
        self.retries = retries
        self.floor_tokens = floor_tokens
        self.weight = weight
        self.layout = check_order(layout, "a call site")
        self.watch = watch
        super().__init__(effective_signature(declared, self.style), **settings)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = tracer()
        if current is None:
            return super().__call__(*args, **kwargs)
        if args:
            raise ProgramError(
                "a call site takes its inputs by name",
                fix=f"name them: {', '.join(f'{name}=...' for name in self.signature.input_fields)}",
            )
        return _trace(current, self, kwargs)

    def forward(self, **kwargs: Any) -> Any:
        from reasonflow.language.program import Single

        return Single(self).run_alone(kwargs)

    async def aforward(self, **kwargs: Any) -> Any:
        from reasonflow.language.program import Single

        return await Single(self).arun_alone(kwargs)

    def takes(self, given: Collection[str]) -> tuple[str, ...]:
        """Names of the inputs of a call that is given these."""
        return tuple(self.signature.input_fields)

    def default(self, name: str) -> Any:
        """Of an input that a call is not given. Raises ProgramError where it has none."""
        default = self.signature.input_fields[name].default
        if default is PydanticUndefined:
            raise ProgramError(
                f"input field {name!r} of {self.signature.signature!r} was not given", fix=f"pass {name}=..."
            )
        return default

    def gives(self) -> tuple[str, ...]:
        """Names of the fields of a record."""
        return tuple(self.signature.output_fields)


def _trace(current: Tracer, site: Generate, kwargs: dict[str, Any]) -> Ref:
    known = site.takes(kwargs)
    config = dict(kwargs.pop("config", None) or {}) if "config" not in known else {}
    width = kwargs.pop("n") if "n" in kwargs and "n" not in known else config.pop("n", site.config.get("n"))
    least = kwargs.pop("min_branches", None) if "min_branches" not in known else None
    below = kwargs.pop("stop_below", None) if "stop_below" not in known else None
    for name in kwargs:
        if name not in known:
            raise UnknownName.among(
                "input field",
                name,
                known,
                fix=f"sampling options go into config={{{name!r}: ...}}" if name in _SAMPLING else "",
            )
    _check_settings(config)
    inputs = {name: kwargs[name] if name in kwargs else site.default(name) for name in known}
    snapshot = _site(current, site, config)
    n = None if width is None else check_width(width, "n")
    record = RecordShape(site.gives())
    shape: Shape = record if n is None else ListShape(record, n)
    op = GenerateOp(snapshot, tuple(inputs), n, check_least(least, n), gated=below is not None)
    read = [current.position(value) for value in inputs.values()]
    if below is not None:
        read.append(current.position(_threshold(below, site)))
    return current.add(op, read, current.path(snapshot.name), shape)


def _threshold(value: Any, site: Generate) -> Any:
    """A Ref, or a finite number. Raises InputError."""
    if site.watch is None:
        raise InputError(
            "stop_below= at a call site that watches nothing",
            why="it is held against what the site computes of a text while it is written",
            fix="make the site with watch=GroupConfidence(), of reasonflow.gates.confidence",
        )
    number = resolve(value)
    if not isinstance(number, Ref) and not is_threshold(number):
        raise InputError(f"stop_below={number!r} is no threshold", fix="give a finite number, or what the run computes")
    return number


def _site(current: Tracer, site: Generate, config: dict[str, Any]) -> Site:
    name = current.program.names.get(id(site))
    if name is None:
        raise ProgramError(
            f"this call site ({site.signature.signature}) is no attribute of the program",
            why="optimizers, artifacts and seeds know call sites by their attribute path",
            fix="make it in __init__: self.draft = rf.Generate(...)",
        )
    defaults = current.program.defaults
    lm = site.lm or defaults.models.get(id(site)) or current.program.lm
    of_engine = getattr(getattr(lm, "engine", None), "settings", None) or {}
    common = {} if defaults.temperature is None else {"temperature": defaults.temperature}
    settings = {**of_engine, **(getattr(lm, "kwargs", None) or {}), **common, **site.config, **config}
    own = {key: value for key, value in settings.items() if key in _SAMPLING and key not in _SEEDING}
    if isinstance(own.get("stop"), list):
        own["stop"] = tuple(own["stop"])
    if site.style == "verdict":
        own["logprobs"] = _reported(lm, own.get("logprobs"))
    if site.watch is not None:
        own["logprobs"] = max(own.get("logprobs") or 0, site.watch.logprobs)
    sampling = Sampling(**own)
    seed = settings.get("seed")
    if (
        seed is None
    ):  # a model of the site's own follows the run: else all problems of an evaluation would share its draws
        seed = (getattr(current.program.lm, "kwargs", None) or {}).get("seed")
    seed = run_seed(seed or 0, settings.get("rollout_id"), sampling.temperature)
    current.program.bindings[name] = Binding(predictor=site, lm=lm, seed=seed, priority=of_engine.get("priority", 0))
    adapter = current.program.adapter if site.style == "fields" else None
    demos = tuple(site.demos)
    window = site.solution_tokens
    share = (site.floor_tokens, site.weight, site.continues, site.unmarked, site.watch)
    order = defaults.layout if site.layout == "auto" else site.layout
    key = (name, site.signature, site.style, tuple(map(repr, demos)), sampling, window, site.retries, adapter, share)
    return Site(
        name=name,
        signature=site.signature,
        style=site.style,
        demos=demos,
        sampling=sampling,
        solution_tokens=window,
        retries=site.retries,
        adapter=adapter,
        floor_tokens=site.floor_tokens,
        weight=site.weight,
        key=key,
        layout=Layout(order),
        continues=site.continues,
        unmarked=site.unmarked,
        begins=site.begins,
        watch=site.watch,
    )


def _reported(lm: Any, logprobs: int | None) -> int | None:
    """As many log-probabilities of those asked for as the engine gives. Starts nothing."""
    from reasonflow.backends.dspy_lm_engines import runtime_behind

    runtime = None if logprobs is None else runtime_behind(lm)
    return logprobs if runtime is None else min(logprobs or 0, runtime.backend.capabilities.top_logprobs) or None


def check_width(value: Any, what: str) -> int:
    """A width known while tracing, 1 to MAX_WIDTH. Raises InputError, for a Ref ProgramError."""
    width = resolve(value)
    if isinstance(width, Ref):
        raise ProgramError(
            f"{what} must be known before the run, not computed by it ({state_of(width)[2]})",
            why="bounds and budgets are taken over the whole plan before it starts",
            fix="use rf.each(items, body, cap=...) where the model decides how many branches there are",
        )
    if isinstance(width, bool) or not isinstance(width, int):
        raise InputError(f"{what} must be a whole number, not {width!r}")
    if not 1 <= width <= MAX_WIDTH:
        raise InputError(
            f"{what}={width} is out of range",
            why=f"a fork has 1 to {MAX_WIDTH} branches",
            fix="give at least one branch" if width < 1 else f"lower it to at most {MAX_WIDTH}",
        )
    return width


def check_least(value: Any, width: int | None) -> int | None:
    """How many branches there must be, 1 to the width. Raises InputError."""
    least = resolve(value)
    if least is None:
        return None
    if width is None or isinstance(least, bool) or not isinstance(least, int) or not 1 <= least <= width:
        raise InputError(
            f"min_branches={least!r} does not fit a width of {width}",
            why="it says how many branches must give a result",
            fix=f"give a whole number from 1 to {width}" if width is not None else "give n= too, or leave it out",
        )
    return least


def _check_settings(settings: dict[str, Any]) -> None:
    known = _SAMPLING | _SEEDING | {"n"}
    for name in settings:
        if name not in known:
            raise UnknownName.among("sampling option", name, known)
    for name, least in _LEAST.items():
        if settings.get(name) is not None:
            _check_least(name, settings[name], least)


def _check_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise InputError(f"{name}={value!r} is out of range", fix=f"give a number, {least} or more")
