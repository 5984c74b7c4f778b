"""What a program searches with, and how anything that finds texts becomes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import dspy

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.retrieval.returned import passages_of
from reasonflow.runtime.functions import call_function

_ACCEPTED = (
    "give an object with `async def search(query, k)`, a retriever of DSPy, a dspy.Tool, or a function f(query) or "
    "f(query, k); of another object its method: as_retriever(thing.search)"
)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Retriever(Protocol):
    """One collection of texts that can be searched.

    `search` is called with several queries at once, from one event loop or from several, and must not block them. It
    returns the best passages first, at most `k` of them, and none where nothing fits. It may raise anything: who asked
    records the failure as the outcome of this query and goes on. Cancellation passes through it untouched.
    """

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        """The passages that fit the query best."""
        ...


Arguments: TypeAlias = Callable[[str, int], tuple[tuple[Any, ...], dict[str, Any]]]
"""Of a query and the number of passages: how a function is called for them."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """A retriever made of a function: awaited if it is async, in a worker thread of its own if it is not."""

    name: str
    """What errors call it."""
    function: Callable[..., Any]
    arguments: Arguments

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        """Raises InputError for a result that holds no passages in a form that is known, and what the function does."""
        positional, named = self.arguments(query, k)
        return passages_of(await call_function(self.function, positional, named), k, self.name)


def as_retriever(thing: object) -> Retriever:
    """Anything that finds texts, as a retriever. Raises InputError for what is not.

    thing: a Retriever; a retriever of DSPy (Retrieve and its kinds, ColBERTv2, Embeddings), or a module that is given
    a query;
    a dspy.Tool whose first argument is the query; a function f(query) or f(query, k), async or not. A number of
    passages is handed over where an argument `k`, or a second one without a default, takes it. What comes back may be
    texts, dicts, passages, or a prediction of such `passages`; more than k of them are cut.
    """
    if inspect.isclass(thing):
        raise InputError(
            f"the class {thing.__name__} is no retriever",
            why="an object of it may be one",
            fix=f"{thing.__name__}(...)",
        )
    if inspect.iscoroutinefunction(getattr(thing, "search", None)):
        return cast(Retriever, thing)
    if isinstance(thing, dspy.Tool):
        return _of_tool(thing)
    if not callable(thing):
        raise InputError(f"a {type(thing).__name__} is no retriever", fix=_ACCEPTED)
    name = getattr(thing, "__name__", type(thing).__name__)
    return Adapted(name, thing, _arguments(thing, name))


def _of_tool(tool: dspy.Tool) -> Adapted:
    names = list(tool.args or {})
    if not names:
        raise _unfit(tool.name, "it has no argument that takes a query")
    needed = [name for name in names[1:] if "default" not in tool.args[name] and name != "k"]
    if needed:
        raise _unfit(tool.name, f"nothing is known to give it as {needed[0]!r}")
    # Its asynchronous side calls a function that is not async on the event loop: that one goes to a thread.
    function = tool.acall if inspect.iscoroutinefunction(tool.func) else tool.__call__
    counted = "k" in names[1:]
    return Adapted(tool.name, function, lambda query, k: ((), {names[0]: query, **({"k": k} if counted else {})}))


def _arguments(function: Callable[..., Any], name: str) -> Arguments:
    """How a function is called. Raises InputError where it takes no query, or needs what nobody gives."""
    try:
        # A retriever or module of DSPy is called through a wrapper that takes anything.
        parameters = inspect.signature(getattr(function, "forward", function)).parameters
    except (TypeError, ValueError) as error:
        raise _unfit(name, f"it does not say what it takes: {error}") from error
    positional = [each for each in parameters.values() if each.kind in _POSITIONAL]
    if not positional:
        if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters.values()):
            return lambda query, k: ((query, k), {})
        raise _unfit(name, "it has no argument that takes a query")
    first, *others = positional
    counted = parameters.get("k")
    given = {first.name, "k"}
    second = next((each for each in others if each.default is inspect.Parameter.empty), None)
    if counted is None and second is not None:
        given.add(second.name)
    missing = _unmet(parameters, given)
    if missing:
        raise _unfit(name, f"nothing is known to give it as {missing!r}")
    if counted is not None and counted is not first and counted.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return lambda query, k: ((query,), {"k": k})
    if second is not None:
        return lambda query, k: ((query, k), {})
    return lambda query, k: ((query,), {})


def _unmet(parameters: Mapping[str, inspect.Parameter], given: set[str]) -> str | None:
    """An argument that must be given and is not."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters.values():
        if each.name not in given and each.default is inspect.Parameter.empty and each.kind not in variable:
            return each.name
    return None


def _unfit(name: str, why: str) -> InputError:
    return InputError(f"{name!r} cannot be asked for passages", why=why, fix=_ACCEPTED)
