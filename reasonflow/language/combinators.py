"""The combinators: how calls are arranged into a program.

Each one, called inside a plan, adds a node and returns a Ref (or the nest of Refs that a loop's state is).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import dspy

from reasonflow.errors import InputError, ProgramError
from reasonflow.language.call_sites import check_least, check_width
from reasonflow.language.choices import resolve
from reasonflow.language.refs import Ref, field_shape, item_of, shape_of, state_of
from reasonflow.language.tracing import Tracer, the_tracer
from reasonflow.plan import nodes
from reasonflow.plan.budget import Budget
from reasonflow.plan.check import MAX_ROUNDS
from reasonflow.plan.shapes import VALUE, ListShape, Shape, StructShape
from reasonflow.prompts.canonical import canonical


def fork(n: Any, body: Callable[..., Any], *, min_branches: Any = None) -> Ref:
    """`body` n times in parallel, each time with seeds of its own. Gives a list of n; failed branches are holes.

    body: takes no argument, or the branch's number.
    min_branches: how many must give a result, or the fork fails; None: as few as its readers can do with.
    """
    current = the_tracer("fork")
    width = check_width(n, "n")
    name = current.path("fork")
    wants = _arity(body, "fork", most=1)

    def make(inner: Tracer) -> Any:
        index = inner.input("index")
        return body(index) if wants else body()

    plan, captured = current.body(name, make)
    op = nodes.Fork(width, plan, check_least(min_branches, width))
    return current.add(op, captured, name, ListShape(plan.shape, width))


def each(
    items: Any,
    body: Callable[..., Any],
    *,
    cap: int | None = None,
    needs: Callable[[Any], Sequence[int]] | None = None,
    min_branches: Any = None,
) -> Ref:
    """`body` once per item, in parallel. Gives a list as long as `items`; a hole stays a hole.

    items: a list of Refs, a list-shaped Ref, or one opaque value that will be a list, which then needs `cap`.
    body: takes the item, or the item and its number.
    cap: items used at most; further ones are left out and the run record says so.
    needs: a function of an item's real value, giving the numbers of other items. Its branch begins when theirs have
        ended, and the body takes what they gave, too: `body(item, found)`, or `body(item, found, number)`. In `found`
        stands a hole for a branch that failed. A run with a circle, or a number that is no item's, raises RunError.
    min_branches: how many must give a result, or the step fails; with fewer items, all of them.
    """
    current = the_tracer("each")
    source = current.lift(items)
    shape = shape_of(source)
    if isinstance(shape, ListShape):
        item: Shape = shape.item
        width, exact = (shape.width, shape.exact) if cap is None else (min(check_width(cap, "cap"), shape.width), False)
    elif cap is None:
        raise ProgramError(
            "each() needs to know how many items there can be",
            why=f"the items are {shape}, whose length only the run knows",
            fix="give cap=...: bounds and budgets rest on it",
        )
    else:
        item, width, exact = VALUE, check_width(cap, "cap"), False
    name = current.path("each")
    if needs is not None:
        _check_callable(needs, "each")
    wants = _arity(body, "each", most=2, least=1) if needs is None else _arity(body, "each", most=3, least=2)

    def make(inner: Tracer) -> Any:
        one, index = inner.input("item", item), inner.input("index")
        parameters = [one, index] if needs is None else [one, inner.input("found"), index]
        return body(*parameters[:wants])

    plan, captured = current.body(name, make)
    args = [state_of(source)[1], *captured]
    op = nodes.Each(width, plan, check_least(min_branches, width), needs=needs)
    return current.add(op, args, name, ListShape(plan.shape, width, exact))


def loop(body: Callable[[Any], Any], init: Any, until: Callable[[Any], Any] | None = None, *, max_rounds: Any) -> Any:
    """`body` applied to its own result, at most `max_rounds` times; gives the last state, nested as `init` is.

    init: a Ref, or any fixed nesting of tuples and dicts of Refs and plain values.
    until: a function of the state's real values, asked after every round; truth ends the loop.
    """
    current = the_tracer("loop")
    for function in (body,) if until is None else (body, until):
        _check_callable(function, "loop")
    rounds = resolve(max_rounds)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MAX_ROUNDS:
        raise InputError(
            f"max_rounds={rounds!r} does not bound this loop",
            why=f"a loop runs 1 to {MAX_ROUNDS} rounds, known before the run",
            fix="give max_rounds=...; `until` may end the loop earlier",
        )
    first = current.lift(init, nest=True)
    shape = shape_of(first)
    name = current.path("loop")

    def make(inner: Tracer) -> Any:
        return inner.lift(body(_nest(inner.input("state", shape))), nest=True)

    plan, captured = current.body(name, make)
    if not _loosely_equal(plan.shape, shape):
        raise ProgramError(
            "a loop's body must give what it takes",
            why=f"the state is {shape}, the body gives {plan.shape}",
            fix="return the next state in the same nesting",
        )
    op = nodes.Loop(plan, until, rounds)
    return _nest(current.add(op, [state_of(first)[1], *captured], name, shape))


def when(condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None) -> Any:
    """`then()` if the condition holds, else `otherwise()`. Only the taken side runs, and only what it needs.

    Both sides give values of one shape; without `otherwise` the other side gives None.
    """
    current = the_tracer("when")
    for side in (then,) if otherwise is None else (then, otherwise):
        _check_callable(side, "when")
    test = current.lift(condition)
    name = current.path("when")
    yes, for_yes = current.body(f"{name}.then", lambda inner: then())
    no, for_no = current.body(f"{name}.otherwise", lambda inner: otherwise() if otherwise is not None else None)
    if otherwise is not None and not _loosely_equal(yes.shape, no.shape):
        raise ProgramError(
            "the two sides of when() must have one shape",
            why=f"then gives {yes.shape}, otherwise gives {no.shape}",
            fix="return the same kind of value from both",
        )
    op = nodes.When(yes, no, 1 + len(for_yes))
    shape = yes.shape if otherwise is not None else VALUE
    return _nest(current.add(op, [state_of(test)[1], *for_yes, *for_no], name, shape))


def race(*bodies: Callable[[], Any], accept: Callable[[Any], Any] | None = None) -> Any:
    """All bodies at once; the first accepted result wins, and the others leave the engine at once.

    bodies: functions without arguments that give values of one shape.
    accept: asked of each result's real value, as it is there; None accepts every result. A body that raises, and a
        result that is not accepted, loses; if all do, the race fails.
    """
    current = the_tracer("race")
    if len(bodies) < 2:
        raise ProgramError(f"a race of {len(bodies)} is none", fix="rf.race(first, second, ...): two bodies or more")
    for function in bodies if accept is None else (*bodies, accept):
        _check_callable(function, "race")
    name = current.path("race")
    plans: list[nodes.Plan] = []
    captured: list[int] = []
    for number, body in enumerate(bodies, start=1):
        plan, outer = current.body(f"{name}.{number}", lambda inner, body=body: body())  # type: ignore[misc]
        if plans and not _loosely_equal(plan.shape, plans[0].shape):
            raise ProgramError(
                "the bodies of race() must have one shape",
                why=f"the first gives {plans[0].shape}, number {number} gives {plan.shape}",
                fix="return the same kind of value from all",
            )
        plans.append(plan)
        captured += outer
    return _nest(current.add(nodes.Race(tuple(plans), accept), captured, name, plans[0].shape))


def within(budget: Budget, body: Callable[[], Any]) -> Any:
    """`body` under a budget of its own, inside the run's.

    When the budget is spent, its calls leave the engine and it gives the latest `rf.answer(...)` inside it; without
    one it fails with BudgetExceeded, as any branch does.
    """
    current = the_tracer("within")
    if not isinstance(budget, Budget):
        raise InputError(
            f"rf.within needs a budget, not {type(budget).__name__}",
            fix="rf.within(rf.Budget(seconds=10), lambda: ...)",
        )
    _check_callable(body, "within")
    name = current.path("within")
    plan, captured = current.body(name, lambda inner: body())
    return _nest(current.add(nodes.Within(budget, plan), captured, name, plan.shape))


def call(fn: Callable[..., Any], *args: Any, cap: int | None = None, effects: bool = False, **kwargs: Any) -> Ref:
    """A function of real values as one step: plain, async, a tool, or any `dspy.Module`. Gives one opaque value.

    Holes arrive as false objects, records as mappings with attributes. Plain functions run in worker threads. The model
    calls that it makes itself run on the run's engines, are recorded in the run, and draw on its budget.

    cap: model calls it makes at most, its share of the bounds; one more fails the step. None: none at all, and a
        `dspy.Module` with predictors has to be given a number.
    effects: it changes the world: it is never repeated, and runs even if nothing reads its result.
    """
    current = the_tracer("call")
    _check_callable(fn, "call")
    if cap is None and isinstance(fn, dspy.Module) and fn.predictors():
        raise ProgramError(
            f"rf.call does not know how many model calls {type(fn).__name__} makes",
            why="bounds and budgets are taken over the whole plan before it starts",
            fix="say how many it makes at most: rf.call(module, ..., cap=10)",
        )
    label = getattr(fn, "__name__", type(fn).__name__)
    name = current.path("call" if label == "<lambda>" else label)
    positions = [current.position(value) for value in (*args, *kwargs.values())]
    return current.add(nodes.Call(fn, tuple(kwargs), cap or 0, effects), positions, name, VALUE)


def vote(items: Any, by: str | None = None, *, normalise: Callable[[str], str] = canonical) -> Ref:
    """The first item of the largest group whose field `by` agrees; holes and items without an answer have no vote.

    by: a field; None where the items are values themselves.
    normalise: two texts agree when this makes them equal. The default knows how answers are written (boxes, units of
        thousands, trailing zeros) and does no algebra.
    """
    current, source, shape = _list("vote", items)
    if by is not None:
        field_shape(shape.item, by)
    return current.add(nodes.Vote(by, normalise), [state_of(source)[1]], current.path("vote"), shape.item)


def quorum(items: Any, by: str | None = None, *, need: Any = None, normalise: Callable[[str], str] = canonical) -> Ref:
    """As `vote`, but it ends its branches as soon as those still running cannot change which group wins.

    The group is the one `vote` would choose; the item is its first among those that have ended. A list that something
    else reads too runs to its end.

    need: so many items must agree, and then decide at once; None: the largest group wins. Fails where no group gets
        there.
    """
    current, source, shape = _list("quorum", items)
    if by is not None:
        field_shape(shape.item, by)
    least = None if need is None else check_width(need, "need")
    if least is not None and least > shape.width:
        raise InputError(f"a quorum of {least} among {shape.width} branches", fix=f"need at most {shape.width}")
    op = nodes.Quorum(by, normalise, least)
    return current.add(op, [state_of(source)[1]], current.path("quorum"), shape.item)


def select(items: Any, *, indices: Any = None, scores: Any = None, k: int | None = None) -> Ref:
    """Some of the items, in the order asked for.

    indices: a list of numbers, counted from 0; those out of range are left out and the run record says so.
    scores: one number per item; the k highest win, earlier items first among equals. None scores nothing.
    k: how many; None gives the single best item rather than a list.
    """
    current, source, shape = _list("select", items)
    if (indices is None) == (scores is None):
        raise ProgramError("select() needs either indices= or scores=", fix="give one of them")
    if k is not None:
        k = check_width(k, "k")
    guide = current.lift(indices if scores is None else scores)
    op = nodes.Select("indices" if scores is None else "scores", k or 1, k is None)
    result = shape.item if k is None else ListShape(shape.item, min(k, shape.width), exact=False)
    return current.add(op, [state_of(source)[1], state_of(guide)[1]], current.path("select"), result)


def answer(value: Any) -> Ref:
    """`value`, marked as an answer: what a run that is cut short may return. Of several the latest counts.

    As a statement of its own it marks a partial answer: `rf.answer(rf.vote(drafts, by="answer"))`. No model call is
    made for it alone.
    """
    current = the_tracer("answer")
    source = current.lift(value)
    return current.add(nodes.Answer(), [state_of(source)[1]], current.path("answer"), shape_of(source))


def _list(what: str, items: Any) -> tuple[Tracer, Ref, ListShape]:
    current = the_tracer(what)
    source = current.lift(items)
    shape = shape_of(source)
    if shape == VALUE:
        shape = ListShape(VALUE, 1 << 30, exact=False)
    if not isinstance(shape, ListShape):
        raise ProgramError(
            f"{what}() needs a list, not {shape}", fix="call with n=..., or use rf.fork or rf.each to make one"
        )
    return current, source, shape


def _nest(ref: Ref) -> Any:
    """A struct-shaped Ref as the tuple or dict of Refs it stands for, so that it unpacks as the program built it."""
    shape = shape_of(ref)
    if not isinstance(shape, StructShape):
        return ref
    parts = [_nest(item_of(ref, key)) for key in shape.keys]
    return (
        tuple(parts) if all(isinstance(key, int) for key in shape.keys) else dict(zip(shape.keys, parts, strict=True))
    )


def _loosely_equal(one: Shape, other: Shape) -> bool:
    """Whether values of both shapes can stand in one place: opaque values fit anywhere."""
    if VALUE in (one, other):
        return True
    if isinstance(one, ListShape) and isinstance(other, ListShape):
        return _loosely_equal(one.item, other.item)
    if isinstance(one, StructShape) and isinstance(other, StructShape):
        return one.keys == other.keys and all(map(_loosely_equal, one.items, other.items))
    return one == other


def _check_callable(fn: Any, what: str) -> None:
    if isinstance(fn, Ref) or not callable(fn):  # a Ref is callable only to refuse
        raise ProgramError(
            f"rf.{what} needs a function, not {type(fn).__name__}", fix="pass the function itself: it is called later"
        )


def _arity(body: Callable[..., Any], what: str, *, most: int, least: int = 0) -> int:
    _check_callable(body, what)
    if isinstance(body, dspy.Module):
        raise ProgramError(
            f"rf.{what} needs a function as its body", fix="wrap it: lambda item: self.solve(problem=item)"
        )
    try:
        parameters = inspect.signature(body).parameters.values()
    except (TypeError, ValueError):
        return least
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if not least <= len(required) <= most:
        raise ProgramError(
            f"the body of rf.{what} takes {len(required)} arguments", fix=f"let it take {least} to {most}"
        )
    return len(required)
