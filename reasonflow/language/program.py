"""`Program`: a DSPy module that declares its whole plan before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, Self

import dspy

from reasonflow.errors import InputError, ProgramError, UnknownName
from reasonflow.language.combinators import within
from reasonflow.language.construction import Construction, construction
from reasonflow.language.dspy_errors import own_errors
from reasonflow.language.dspy_warnings import warn_of_equal_signatures, warn_of_unheard_adapter
from reasonflow.language.tracing import Binding, ProgramSites, Tracer, tracer, tracing
from reasonflow.plan.budget import Budget
from reasonflow.plan.explain import Explanation
from reasonflow.plan.nodes import Plan
from reasonflow.plan.shapes import ListShape, RecordShape, StructShape, ValueShape
from reasonflow.prompts.layouts import Order, check_order
from reasonflow.runtime.events import Event

if TYPE_CHECKING:
    from reasonflow.optimizers.front import Front
    from reasonflow.runtime.estimate import Estimate
    from reasonflow.runtime.measured import Past


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A program as it stood in one context: its plan, and what the plan's call sites are bound to."""

    name: str
    plan: Plan
    inputs: tuple[str, ...]
    bindings: Mapping[str, Binding]
    lm: dspy.BaseLM | None
    budget: Budget | None = None
    """What one run may spend."""


class Program(dspy.Module):
    """A reasoning program: call sites in `__init__`, their arrangement in `plan`.

    `plan` is traced on every call over symbolic values, lowered by the compiler's passes, and run on the engine of the
    language model in force: a call site's own, then `dspy.context`, then `dspy.configure`. Call it with the inputs
    by name, await `acall`, or nest it in another program's plan. The result is a `dspy.Prediction` whose `run` tells
    what happened.
    """

    signature: type[dspy.Signature] | None = None
    """For programs over any signature, whose `plan` takes **inputs: the fields it takes."""
    budget: Budget | None = None
    """What one run of it may spend; nested in another program's plan, what this part of the run may."""
    layout: Order = "auto"
    """The order of the prompts of its call sites that say nothing themselves: see `rf.Generate`."""
    compile_report: Mapping[str, Any] | None = None
    """What `rf.compile` tried, spent and found, in JSON's types, where it made this program. Artifacts keep it."""
    _constructed_with: Construction | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: what subclasses are given counts, not what they hand on.
        made: Self = super().__new__(cls)
        made._constructed_with = construction(cls, args, kwargs)
        return made

    def plan(self, *args: Any, **inputs: Any) -> Any:
        """Arrange the call sites; returns what the program gives. Override this."""
        raise ProgramError(
            f"{type(self).__name__} has no plan",
            why="a Program says what it does in plan(self, ...)",
            fix="def plan(self, problem): return self.solve(problem=problem)",
        )

    def input_names(self) -> tuple[str, ...]:
        """The names `plan` takes, in order."""
        names: list[str] = []
        for parameter in _parameters(self.plan):
            if parameter.kind is parameter.VAR_KEYWORD:
                names.extend(self.signature.input_fields if self.signature is not None else ())
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                names.append(parameter.name)
        return tuple(names)

    def explain(self) -> Explanation:
        """What a call would do: shape, prompts, bounds. Nothing runs and no engine starts."""
        from reasonflow.runtime.launch import explained

        return explained(trace(self))

    def estimate(self, examples: Sequence[Any], *, samples: int = 1, history: Iterable[Past] | None = None) -> Estimate:
        """What `samples` runs over each of the examples will take. Nothing runs and no engine starts.

        examples: `dspy.Example`s with their inputs named, or dicts of inputs.
        history: records of earlier runs (`[out.run, ...]`) or folders of evaluations of this program: without them no
            value is called likely. Runs of other settings tell how long the calls of each call site are.
        The high ends of calls and tokens are never exceeded where the engine has a tokenizer and a window. Raises
        InputError for an example that lacks an input, or for a history of another program.
        """
        from reasonflow.runtime.estimate import estimated

        return estimated(self, examples, samples=samples, history=history)

    @property
    def front(self) -> Front:
        """The settings `rf.compile` found to be unbeaten. Raises InputError for a program it did not make."""
        from reasonflow.optimizers.front import Front

        if self.compile_report is None or "front" not in self.compile_report:
            raise InputError(f"this {type(self).__name__} has no front", fix="make one with rf.compile(...)")
        return Front.from_json(self.compile_report["front"])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inputs = self._bind(args, kwargs)
        if (outer := tracer()) is not None:
            with outer.program.laid_out(_order(self)):
                return self.plan(**inputs) if self.budget is None else within(self.budget, lambda: self.plan(**inputs))
        from reasonflow.runtime.launch import launch

        return launch(trace(self), inputs)

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        from reasonflow.runtime.launch import alaunch

        return await alaunch(trace(self), self._bind(args, kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Event]:
        """Run it, and see it happen: `async for event in program.stream(problem=...)`.

        The events are those of `reasonflow.events`; the last is `Finished`, with the output. Raises what the run
        raises. Leaving the loop early cancels the run once the iterator is closed (`contextlib.aclosing` does it at
        once).
        """
        from reasonflow.runtime.stream import stream

        return stream(trace(self), self._bind(args, kwargs))

    def save(self, path: Any, save_program: bool = False, modules_to_serialize: Any = None) -> None:
        """Write an artifact, a `.json` file: `rf.load(path)` makes the program again, `program.load(path)` its state.

        Without a language model, whose place is the context. save_program, modules_to_serialize: as DSPy's, which
        pickles the whole program into a folder. Raises InputError for what has no JSON form.
        """
        if save_program:
            super().save(path, save_program=True, modules_to_serialize=modules_to_serialize)
            return
        from reasonflow.language.artifact import save

        save(self, path)

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        """As DSPy's, tolerating files written before a Choice existed: it keeps its value then."""
        missing = {
            name: parameter.dump_state()
            for name, parameter in self.named_parameters()
            if name not in state and not isinstance(parameter, dspy.Module)
        }
        super().load_state({**state, **missing}, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = self.input_names()
        if len(args) > len(names):
            raise InputError(
                f"{type(self).__name__} takes {len(names)} input{'s' if len(names) != 1 else ''}, not {len(args)}",
                fix=f"its inputs are {', '.join(names) or 'none'}",
            )
        positional = dict(zip(names, args, strict=False))
        twice = [name for name in positional if name in kwargs]
        if twice:
            raise InputError(f"{type(self).__name__} was given {twice[0]} twice", fix="pass it once, by its name")
        given = {**positional, **kwargs}
        for name in given:
            if name not in names:
                raise UnknownName.among(f"input of {type(self).__name__}", name, names)
        defaults = {p.name for p in _parameters(self.plan) if p.default is not p.empty}
        missing = [name for name in names if name not in given and name not in defaults]
        if missing:
            raise InputError(
                f"{type(self).__name__} was not given {', '.join(missing)}",
                why=f"its inputs are {', '.join(names)}",
                fix=f"pass {missing[0]}=...",
            )
        return given


class Single(Program):
    """One call site as a program: what a `Generate` called outside a plan is."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return dspy.Module.__new__(cls)  # type: ignore[no-any-return]  # made for one call, and never saved

    def __init__(self, site: dspy.Predict) -> None:
        self.site = site

    def plan(self, **inputs: Any) -> Any:
        return self.site(**inputs)

    def run_alone(self, kwargs: dict[str, Any]) -> Any:
        """Run the call in the caller's context."""
        from reasonflow.runtime.launch import launch

        return launch(trace(self, kwargs), {})

    async def arun_alone(self, kwargs: dict[str, Any]) -> Any:
        """As `run_alone`, awaited."""
        from reasonflow.runtime.launch import alaunch

        return await alaunch(trace(self, kwargs), {})


def trace(program: Program, constants: Mapping[str, Any] | None = None) -> Traced:
    """Trace `program` in the caller's context.

    constants: handed to `plan` as they are instead of symbolic inputs.
    """
    names = {id(predictor): path for path, predictor in predictors_of(program)}
    lm, adapter = dspy.settings.lm, dspy.settings.adapter
    sites = ProgramSites(names, lm, adapter)
    outer = Tracer(sites)
    inputs = program.input_names() if constants is None else ()
    # No callbacks either: they would be told of nested programs as if these ran, with symbolic values.
    with tracing(outer), dspy.context(lm=_REFUSING_LM, adapter=_REFUSING_ADAPTER, callbacks=[]):
        symbolic = {name: outer.input(name) for name in inputs}
        with own_errors(), sites.laid_out(_order(program)):
            given = program.plan(**(symbolic if constants is None else constants))
        if given is None:
            raise ProgramError(
                f"{type(program).__name__}.plan returns nothing", fix="end it in `return rf.answer(...)`"
            )
        result = outer.lift(given)
    plan = outer.finish(result)
    _check_result(program, plan)
    warn_of_unheard_adapter(program, adapter)
    warn_of_equal_signatures(program, {name: bound.predictor for name, bound in sites.bindings.items()})
    return Traced(
        name=type(program).__name__,
        plan=plan,
        inputs=inputs,
        bindings=sites.bindings,
        lm=lm,
        budget=_budget(program),
    )


def _parameters(plan: Any) -> tuple[inspect.Parameter, ...]:
    """What a plan takes, without `self`."""
    function = getattr(plan, "__func__", None)
    if inspect.isfunction(function):
        return _declared(function)[1:]
    return tuple(inspect.signature(plan).parameters.values())


@lru_cache(maxsize=256)  # read for every call, and reading it takes as long as tracing the plan
def _declared(function: Any) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def _order(program: Program) -> Order:
    return check_order(program.layout, type(program).__name__)


def _budget(program: Program) -> Budget | None:
    budget = program.budget
    if budget is not None and not isinstance(budget, Budget):
        raise InputError(
            f"the budget of {type(program).__name__} is {budget!r}", fix="program.budget = rf.Budget(total=20_000)"
        )
    return budget


def predictors_of(program: dspy.Module) -> Iterator[tuple[str, dspy.Predict]]:
    """Every predictor of a program with the path DSPy names it by, those of compiled submodules too."""
    return _predictors("", program, set())


def _predictors(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, dspy.Predict]]:
    """Every predictor below `value` with the path DSPy names it by.

    DSPy's own walks either leave out compiled submodules or go through whole histories, which grow with every call.
    """
    if id(value) in seen:
        return
    if isinstance(value, dspy.Module):
        seen.add(id(value))
        if isinstance(value, dspy.Predict):
            yield path or "self", value
            return
        parts = [(name, part) for name, part in vars(value).items() if name not in ("history", "callbacks")]
        below = [(f"{path}.{name}" if path else name, part) for name, part in parts]
    elif isinstance(value, (list, tuple)):
        below = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, dict):
        below = [(f"{path}[{key!r}]", part) for key, part in value.items()]
    else:
        return
    for name, part in below:
        yield from _predictors(name, part, seen)


def _check_result(program: Program, plan: Plan) -> None:
    match plan.shape:
        case RecordShape() | ValueShape() | ListShape(item=RecordShape()):
            return
        case StructShape(keys) if all(isinstance(key, str) for key in keys):
            return
        case shape:
            raise ProgramError(
                f"{type(program).__name__}.plan returns {shape}",
                why="a program gives one record, the records of one call, or a dict of named values",
                fix="join the branches with rf.vote or rf.select, or return a dict",
            )


def _refuse() -> NoReturn:
    here = tracer()
    raise ProgramError(
        "a language model was called inside plan()",
        why="plan() is traced before anything runs; this call would have sent symbolic values to the model"
        + (f" (after {here.nodes[-1].name})" if here and here.nodes else ""),
        fix="use rf.Generate for call sites, or rf.call(module, ...) for a whole DSPy module",
    )


class _RefusingLM(dspy.BaseLM):
    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()

    async def acall(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()


class _RefusingAdapter(dspy.Adapter):
    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()

    async def acall(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()


_REFUSING_LM = _RefusingLM(model="refused-while-tracing")
_REFUSING_ADAPTER = _RefusingAdapter()
