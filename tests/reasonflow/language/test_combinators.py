"""What each combinator means, run on the scripted engine."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import ProgramError, RunError


def run(make: Any, answer: Any = "\\boxed{1}", **inputs: Any) -> Any:
    """The value of a plan given as a function of its call site and inputs."""

    class Made(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return {"value": make(self.solve, problem)}

    with dspy.context(lm=rf.scripted(answer)):
        return Made()(problem=inputs.get("problem", "p"))


def test_a_call_without_n_gives_a_record_and_with_n_a_list_also_for_one() -> None:
    record = run(lambda solve, p: solve(problem=p)).value
    assert record.answer == "1"
    assert record["answer"] == "1"
    assert record.text == "\\boxed{1}"
    one = run(lambda solve, p: solve(problem=p, n=1)).value
    assert isinstance(one, list)
    assert [r.answer for r in one] == ["1"]


def test_fields_and_slices_of_lists() -> None:
    answers = ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]
    assert run(lambda solve, p: solve(problem=p, n=3).answer, answers).value == ["1", "2", "3"]
    assert run(lambda solve, p: solve(problem=p, n=3)[1:].answer, answers).value == ["2", "3"]
    assert run(lambda solve, p: solve(problem=p, n=3)[-1].answer, answers).value == "3"


def test_fork_gives_every_branch_its_number() -> None:
    assert run(lambda solve, p: rf.fork(3, lambda i: rf.call(lambda i, p: f"{p}{i}", i, p))).value == ["p0", "p1", "p2"]


def test_each_takes_run_time_widths_up_to_its_cap() -> None:
    def make(solve: Any, p: Any) -> Any:
        return rf.each(rf.call(lambda p: p.split(), p), lambda word: rf.call(str.upper, word), cap=3)

    assert run(make, problem="a b").value == ["A", "B"]
    out = run(make, problem="a b c d e")
    assert out.value == ["A", "B", "C"]
    assert out.run.repairs == ["each: 5 items, cap 3: left out the last 2"]


def test_each_over_static_lists_passes_item_and_number() -> None:
    out = run(lambda solve, p: rf.each(solve(problem=p, n=2), lambda d, i: rf.call(lambda d, i: (d.answer, i), d, i)))
    assert out.value == [("1", 0), ("1", 1)]


def test_loop_carries_nested_state_and_ends_early() -> None:
    def make(solve: Any, p: Any) -> Any:
        def body(state: Any) -> Any:
            text, (count,) = state["text"], state["count"]
            return {"text": rf.call(lambda t: t + "x", text), "count": (rf.call(lambda c: c + 1, count),)}

        return rf.loop(body, {"text": p, "count": (0,)}, until=lambda s: s["count"][0] >= 2, max_rounds=5)["text"]

    assert run(make).value == "pxx"


def test_loop_stops_at_its_bound() -> None:
    assert run(lambda solve, p: rf.loop(lambda t: rf.call(lambda t: t + "x", t), p, max_rounds=3)).value == "pxxx"


def test_when_runs_only_the_taken_side_and_only_what_it_needs() -> None:
    ran: list[str] = []

    def step(name: str) -> str:
        ran.append(name)
        return name

    def make(solve: Any, p: Any) -> Any:
        dear, cheap = rf.call(step, "dear"), rf.call(step, "cheap")
        return rf.when(rf.call(lambda p: p == "hard", p), lambda: rf.call(step, dear), lambda: cheap)

    assert run(make, problem="easy").value == "cheap"
    assert ran == ["cheap"]
    ran.clear()
    assert run(make, problem="hard").value == "dear"
    assert ran == ["dear", "dear"]


def test_when_without_otherwise_gives_none() -> None:
    assert run(lambda solve, p: rf.when(rf.call(bool, ""), lambda: p)).value is None


def test_vote_takes_the_largest_group_and_the_first_among_equals() -> None:
    answers = ["\\boxed{7}", "\\boxed{8}", "\\boxed{8.0}", "\\boxed{7}", "\\boxed{ 8 }"]
    assert run(lambda solve, p: rf.vote(solve(problem=p, n=5), by="answer").answer, answers).value == "8"
    assert run(lambda solve, p: rf.vote(solve(problem=p, n=2), by="answer").answer, answers).value == "7"


def test_vote_skips_branches_without_an_answer() -> None:
    answers = ["no idea", "none at all", "\\boxed{8}"]
    out = run(lambda solve, p: rf.vote(solve(problem=p, n=3), by="answer").answer, answers)
    assert out.value == "8"
    assert len(out.run.repairs) == 2


def test_select_by_scores_and_by_indices() -> None:
    answers = ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]
    best = run(lambda solve, p: rf.select(solve(problem=p, n=3), scores=[0.1, 0.9, 0.9]).answer, answers)
    assert best.value == "2"
    two = run(lambda solve, p: rf.select(solve(problem=p, n=3).answer, scores=[0.1, None, 0.9], k=2), answers)
    assert two.value == ["3", "1"]
    named = run(lambda solve, p: rf.select(solve(problem=p, n=3).answer, indices=[2, 9, 0, 2], k=3), answers)
    assert named.value == ["3", "1"]
    assert named.run.repairs == ["select: left out 1 of 4 numbers that name no item"]


def test_a_failed_branch_is_a_hole_and_joins_skip_it() -> None:
    def fail(i: int) -> int:
        if i == 1:
            raise ValueError("one is bad")
        return i

    out = run(lambda solve, p: rf.fork(3, lambda i: rf.call(fail, i)))
    assert [bool(v) or v == 0 for v in out.value] == [True, False, True]
    assert out.value[0] == 0
    assert out.value[2] == 2
    assert out.run.failures == ["fork[1]: ValueError: one is bad"]
    voted = run(lambda solve, p: rf.vote(rf.fork(3, lambda i: rf.call(fail, i))))
    assert voted.value == 0


def test_a_run_all_of_whose_branches_fail_says_so_with_the_cause() -> None:
    def fail(i: int) -> int:
        raise ValueError("bad")

    with pytest.raises(RunError, match="all 3 branches into vote failed") as caught:
        run(lambda solve, p: rf.vote(rf.fork(3, lambda i: rf.call(fail, i))))
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.run is not None
    assert len(caught.value.run.failures) == 3


def test_an_error_outside_any_branch_ends_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda solve, p: rf.call(lambda p: 1 / 0, p))


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_a_function_that_wants_to_exit_ends_its_run_and_not_the_engine(ending: type[BaseException]) -> None:
    def leave(*_: Any) -> None:
        raise ending

    class Leaving(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any, how: str) -> Any:
            return {"value": rf.when(rf.call(lambda how: how == "call", how), lambda: self.call(), lambda: self.loop())}

        def call(self) -> Any:
            return rf.call(leave)

        def loop(self) -> Any:
            return rf.loop(lambda state: rf.call(str, state), "x", until=leave, max_rounds=2)

    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        for how in ("call", "until"):
            with pytest.raises(RunError, match=ending.__name__):
                Leaving()(problem="x", how=how)
        assert rf.ChainOfThought()(problem="x").answer == "1"


def test_a_value_that_is_not_there_at_run_time_says_so() -> None:
    with pytest.raises(RunError, match="str has no field 'answer'"):
        run(lambda solve, p: rf.call(str, p).answer)
    with pytest.raises(RunError, match="list has no item 7"):
        run(lambda solve, p: rf.call(lambda p: [p], p)[7])


def test_an_error_of_a_users_function_carries_the_run() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(lambda solve, p: rf.call(lambda text: 1 / 0, solve(problem=p).answer))
    assert caught.value.run.usage.calls == 1  # type: ignore[attr-defined]


def test_call_takes_async_functions_and_whole_modules() -> None:
    async def double(text: str) -> str:
        await asyncio.sleep(0)
        return text * 2

    assert run(lambda solve, p: rf.call(double, p)).value == "pp"
    module = dspy.ChainOfThought("problem -> answer")
    text = "[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n5\n\n[[ ## completed ## ]]"
    assert run(lambda solve, p: rf.call(module, problem=p, cap=1), text).value.answer == "5"


def test_effects_run_though_nothing_reads_them() -> None:
    ran: list[str] = []

    def make(solve: Any, p: Any) -> Any:
        rf.call(ran.append, p, effects=True)
        rf.call(ran.append, "unread")
        return p

    run(make)
    assert ran == ["p"]


def test_notes_of_functions_reach_the_record() -> None:
    def guess(p: str) -> str:
        rf.note("guessed")
        return p

    assert run(lambda solve, p: rf.call(guess, p)).run.repairs == ["guess: guessed"]
    rf.note("outside a run: nothing happens")


def test_a_model_called_inside_plan_is_refused() -> None:
    plain = dspy.Predict("problem -> answer")
    own = dspy.Predict("problem -> answer")
    own.lm = rf.scripted("x")
    for inner in (plain, own, dspy.ChainOfThought("problem -> answer")):
        with pytest.raises(ProgramError, match="inside plan"):
            run(lambda solve, p, inner=inner: inner(problem="constant"))
    with pytest.raises(ProgramError, match="inside plan"):
        run(lambda solve, p: dspy.settings.lm("hello"))


def test_programs_nest_inline_with_names_of_their_own() -> None:
    class Outer(rf.Program):
        def __init__(self) -> None:
            self.inner = rf.SelfConsistency(n=2)
            self.last = rf.Generate("problem, answer -> verdict")

        def plan(self, problem: Any) -> Any:
            first = self.inner(problem=problem)
            return self.last(problem=problem, answer=first.answer)

    outer = Outer()
    assert [name for name, _ in outer.named_predictors()] == ["inner.solve", "last"]
    with dspy.context(lm=rf.scripted("\\boxed{1}")):
        out = outer(problem="p")
    assert out.verdict == "1"
    assert [span.node for span in out.run.spans] == ["inner.solve", "inner.solve", "last"]


def test_a_call_site_made_inside_plan_is_refused() -> None:
    with pytest.raises(ProgramError, match="no attribute of the program"):
        run(lambda solve, p: rf.Generate("problem -> answer")(problem=p))
