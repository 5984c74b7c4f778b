"""A chain is evaluated as any plan is: the same programs, with and without the short way."""

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.compiler.passes import lower
from reasonflow.language.program import trace
from reasonflow.plan.nodes import Fork
from reasonflow.runtime import executor
from reasonflow.runtime.straight import chain_of


async def loud(text: str) -> str:
    """On the run's own loop: a thread would end sooner or later, and a budget that binds shows the order."""
    return text.upper()


class Steps(rf.Program):
    """Three calls one after the other in every branch, a function between them, and answers on the way."""

    def __init__(self) -> None:
        self.draft = rf.Generate("question -> answer")
        self.check = rf.Generate("question, draft -> answer")
        self.last = rf.Generate("question, draft, hint -> answer")

    def plan(self, question: Any) -> Any:
        def body(index: Any) -> Any:
            drafts = self.draft(question=question, n=2)
            checked = self.check(question=question, draft=rf.vote(drafts, by="answer").answer)
            hint = rf.call(loud, checked.answer)
            return self.last(question=question, draft=checked.answer, hint=hint)

        return rf.answer(rf.vote(rf.fork(3, body), by="answer"))


class Each(rf.Program):
    def __init__(self) -> None:
        self.solve = rf.Generate("question -> answer")

    def plan(self, questions: Any) -> Any:
        return rf.each(questions, lambda question: self.solve(question=question), cap=8)


def told(program: rf.Program, budget: rf.Budget | None, **inputs: Any) -> Any:
    """What it gave, its record without times, and DSPy's trace."""
    lm = rf.scripted(lambda prompt, seed, index: f"\\boxed{{{(seed or 0) % 3}}}")
    program.budget = budget
    try:
        with dspy.context(lm=lm, trace=[]):
            out = program(**inputs)
            trace_ = [(list(inputs.items()), prediction.toDict()) for _, inputs, prediction in dspy.settings.trace]
    finally:
        lm.engine.close()
    spans = [
        (s.node, s.indices, s.input_tokens, s.cached_tokens, s.output_tokens, s.outcome, s.repairs, s.max_tokens)
        for s in out.run.spans
    ]
    run = out.run
    figures = (run.usage, run.sequential_tokens, run.path, run.repairs, run.failures, run.complete, run.requests)
    return out.toDict(), sorted(spans), figures[:2], figures[3:], len(run.path), trace_


@pytest.mark.parametrize("budget", [None, rf.Budget(total=40_000), rf.Budget(total=2_500), rf.Budget(sequential=900)])
@pytest.mark.parametrize("program", [Steps, Each])
def test_it_gives_and_records_what_any_evaluation_does(
    program: type[rf.Program], budget: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: Any = {"question": "What?"} if program is Steps else {"questions": [f"What is {i}?" for i in range(5)]}
    short = told(program(), budget, **inputs)
    monkeypatch.setattr(executor, "chain_of", lambda plan: None)
    assert told(program(), budget, **inputs) == short


def bodies(program: rf.Program) -> list[Any]:
    plan = lower(trace(program).plan)
    return [plan, *(node.op.body for node in plan.walk() if isinstance(node.op, Fork))]


def test_a_body_of_steps_that_wait_for_each_other_is_a_chain() -> None:
    whole, body = bodies(Steps())
    steps = [body.nodes[position].name for position, takes_time in chain_of(body) or () if takes_time]
    assert [name.split("/")[-1].split("#")[0] for name in steps] == ["draft", "check", "loud", "last"]
    assert chain_of(whole) is not None


def test_what_could_run_side_by_side_is_none() -> None:
    class Beside(rf.Program):
        def __init__(self) -> None:
            self.one, self.other = rf.Generate("question -> answer"), rf.Generate("question -> answer")

        def plan(self, question: Any) -> Any:
            return {"one": self.one(question=question).answer, "other": self.other(question=question).answer}

    assert chain_of(bodies(Beside())[0]) is None


def test_an_answer_that_nobody_reads_is_left_to_the_evaluation() -> None:
    class Early(rf.Program):
        def __init__(self) -> None:
            self.one, self.other = rf.Generate("question -> answer"), rf.Generate("question, draft -> answer")

        def plan(self, question: Any) -> Any:
            draft = self.one(question=question)
            rf.answer(draft)
            return self.other(question=question, draft=draft.answer)

    assert chain_of(bodies(Early())[0]) is None
