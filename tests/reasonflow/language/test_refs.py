"""A symbolic value refuses to lie: every misuse is an error that names what to use instead."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError, ProgramError, RefError, UnknownName
from reasonflow.language.program import trace


class Probe(rf.Program):
    """Hands symbolic values of every shape to a function, while tracing."""

    def __init__(self, use: Callable[..., Any]) -> None:
        self.solve = rf.Generate("problem -> answer")
        self.use = use

    def plan(self, problem: Any) -> Any:
        record, drafts = self.solve(problem=problem), self.solve(problem=problem, n=3)
        self.use(problem, record, drafts)
        return rf.vote(drafts, by="answer")


MISUSES = {
    "truth": (lambda p, r, d: bool(p), "rf.when"),
    "if": (lambda p, r, d: 1 if r else 2, "rf.when"),
    "not": (lambda p, r, d: not d, "rf.when"),
    "equal": (lambda p, r, d: p == "x", "rf.call"),
    "unequal": (lambda p, r, d: p != "x", "rf.call"),
    "less": (lambda p, r, d: p < 3, "rf.select"),
    "in": (lambda p, r, d: "x" in p, "rf.call"),
    "len": (lambda p, r, d: len(d), "rf.each"),
    "iterate": (lambda p, r, d: list(d), "rf.each"),
    "unpack": (lambda p, r, d: (lambda a, b, c: a)(*d), "rf.each"),
    "str": (lambda p, r, d: str(p), "rf.call"),
    "f-string": (lambda p, r, d: f"{r.answer}", "rf.call"),
    "hash": (lambda p, r, d: {p: 1}, "a dict's value"),
    "set": (lambda p, r, d: {r}, "a dict's value"),
    "add": (lambda p, r, d: p + "x", "rf.call"),
    "radd": (lambda p, r, d: "x" + p, "rf.call"),
    "int": (lambda p, r, d: int(r.answer), "rf.call"),
    "float": (lambda p, r, d: float(r.answer), "rf.call"),
    "range": (lambda p, r, d: range(p), "rf.call"),
    "call": (lambda p, r, d: p.strip(), "rf.call"),
    "pickle": (lambda p, r, d: pickle.dumps(p), "return it from plan"),
    "copy": (lambda p, r, d: copy.copy(p), "use it as it is"),
    "deepcopy": (lambda p, r, d: copy.deepcopy([p]), "use it as it is"),
    "setattr": (lambda p, r, d: setattr(r, "answer", "x"), "rf.call"),
    "index by ref": (lambda p, r, d: d[r.answer], "rf.select"),
    "abs": (lambda p, r, d: abs(p), "rf.call"),
    "round": (lambda p, r, d: round(p), "rf.call"),
    "divmod": (lambda p, r, d: divmod(p, 2), "rf.call"),
    "power": (lambda p, r, d: 2**p, "rf.call"),
    "and": (lambda p, r, d: p & 1, "rf.call"),
    "merge": (lambda p, r, d: {} | p, "rf.call"),
    "invert": (lambda p, r, d: ~p, "rf.call"),
    "item assignment": (lambda p, r, d: operator.setitem(d, 0, p), "rf.call"),
    "item removal": (lambda p, r, d: operator.delitem(d, 0), "rf.call"),
    "field removal": (lambda p, r, d: delattr(r, "answer"), "rf.call"),
    "await": (lambda p, r, d: p.__await__(), "leave out"),
    "repr in a text": (lambda p, r, d: rf.call(str, f"drafts: {[p, r]}"), "rf.call"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_refused_and_names_the_way_out(name: str) -> None:
    use, advice = MISUSES[name]
    with pytest.raises(RefError, match=r"symbolic") as caught:
        trace(Probe(use))
    assert advice in caught.value.fix
    assert isinstance(caught.value, TypeError)


def test_a_refusal_survives_functions_that_replace_type_errors() -> None:
    with pytest.raises(TypeError):  # str.join swaps our message for its own, and still refuses
        trace(Probe(lambda p, r, d: "".join(d)))


async def _asynchronous() -> str:
    return "x"


WRONG_SHAPES = {
    "no such field": (lambda p, r, d: r.anwser, "did you mean 'answer'"),
    "no such field of a list": (lambda p, r, d: d.anwser, "did you mean 'answer'"),
    "index of a record": (lambda p, r, d: r[0], "n=1"),
    "slice of a record": (lambda p, r, d: r[1:], "slice a list"),
    "index past the end": (lambda p, r, d: d[3], "below 3"),
    "field of a list of lists": (lambda p, r, d: rf.fork(2, lambda: rf.fork(2, lambda: p)).answer, "rf.each"),
    "vote over a record": (lambda p, r, d: rf.vote(r), "n="),
    "vote by an unknown field": (lambda p, r, d: rf.vote(d, by="anser"), "did you mean 'answer'"),
    "select without a guide": (lambda p, r, d: rf.select(d), "one of them"),
    "each over a value without a cap": (lambda p, r, d: rf.each(p, lambda item: item), "cap="),
    "sides of different shapes": (lambda p, r, d: rf.when(p, lambda: r, lambda: d), "same kind"),
    "loop that changes its state": (
        lambda p, r, d: rf.loop(lambda s: (s[0], p, p), (p, 1), max_rounds=2),
        "same nesting",
    ),
    "coroutine as a body": (lambda p, r, d: rf.fork(2, _asynchronous), "without `await`"),
    "generator as a body": (lambda p, r, d: rf.fork(2, lambda: (_ for _ in "ab")), "`yield`"),
    "fork of no function": (lambda p, r, d: rf.fork(2, r), "the function itself"),
    "each of no function": (lambda p, r, d: rf.each(d, 3), "the function itself"),
    "loop until a value": (lambda p, r, d: rf.loop(lambda s: s, p, until=True, max_rounds=2), "the function itself"),
    "when with values": (lambda p, r, d: rf.when(p, "a", "b"), "the function itself"),
    "width from a run": (lambda p, r, d: rf.fork(p, lambda: p), "rf.each"),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_wrong_shapes_are_found_while_tracing(name: str) -> None:
    use, advice = WRONG_SHAPES[name]
    with pytest.raises(ProgramError) as caught:
        trace(Probe(use))
    assert advice in caught.value.fix


@pytest.mark.parametrize("width", [0, -1, 100_000, 2.5, "3", True])
def test_impossible_widths_are_refused(width: object) -> None:
    with pytest.raises(InputError, match=r"n must be a whole number|out of range"):
        trace(Probe(lambda p, r, d: rf.fork(width, lambda: p)))


@pytest.mark.parametrize("k", [0, -1, 100_000])
def test_selecting_none_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k={k} is out of range"):
        trace(Probe(lambda p, r, d: rf.select(d, indices=[0], k=k)))


@pytest.mark.parametrize(
    "options", [{"max_tokens": 0}, {"temperature": -1}, {"temperature": "hot"}, {"solution_tokens": 0}, {"retries": -1}]
)
def test_impossible_options_of_a_call_site_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="out of range"):
        rf.Generate("problem -> answer", **options)


@pytest.mark.parametrize("rounds", [0, None, 10**9, float("inf")])
def test_a_loop_needs_a_bound(rounds: object) -> None:
    with pytest.raises(InputError, match="does not bound this loop"):
        trace(Probe(lambda p, r, d: rf.loop(lambda s: s, p, max_rounds=rounds)))


def test_a_ref_from_a_body_that_ended_is_refused() -> None:
    kept: list[Any] = []

    def use(p: Any, r: Any, d: Any) -> None:
        rf.fork(2, lambda: kept.append(rf.call(str, p)) or kept[0])
        rf.call(str, kept[0])

    with pytest.raises(ProgramError, match="does not exist"):
        trace(Probe(use))


def test_a_ref_of_another_program_is_refused() -> None:
    kept: list[Any] = []
    trace(Probe(lambda p, r, d: kept.append(r)))
    with pytest.raises(ProgramError, match="does not exist"):
        trace(Probe(lambda p, r, d: rf.call(str, kept[0])))


def test_field_access_keeps_indices_and_awkward_names() -> None:
    class Awkward(rf.Program):
        def __init__(self) -> None:
            self.ask = rf.Generate("problem -> node: str, text: str, keys: int")

        def plan(self, problem: Any) -> Any:
            record = self.ask(problem=problem)
            return {"node": record["node"], "text": record["text"], "keys": record["keys"]}

    lm = rf.scripted("[[ ## node ## ]]\nn\n\n[[ ## text ## ]]\nt\n\n[[ ## keys ## ]]\n3\n\n[[ ## completed ## ]]")
    with dspy.context(lm=lm):
        out = Awkward()(problem="x")
    assert (out["node"], out["text"], out["keys"]) == ("n", "t", 3)


def test_unknown_inputs_and_options_name_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'problem'"):
        trace(Probe(lambda p, r, d: None)).plan and Probe(lambda p, r, d: None)(probelm="x")
    with pytest.raises(UnknownName, match="did you mean 'temperature'"):
        rf.Generate("problem -> answer", temprature=1.0)
    with pytest.raises(InputError, match="no outputs"):
        rf.Generate("problem -> ")


def test_combinators_mean_nothing_outside_a_plan() -> None:
    with pytest.raises(ProgramError, match="outside a plan"):
        rf.vote([1, 2])
