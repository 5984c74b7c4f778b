"""DSPy's own agents and evaluator over our engines, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.primitives.local_interpreter import LocalInterpreter

import reasonflow as rf


def fields(**texts: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items())


def reply(prompt: str, seed: int | None, index: int) -> str:
    """What a model would write for each of DSPy's prompts."""
    if "next_tool_name" in prompt:
        done = "observation_0" in prompt
        name, arguments = ("finish", "{}") if done else ("double", '{"number": 21}')
        return fields(next_thought="think", next_tool_name=name, next_tool_args=arguments)
    if "[[ ## code ## ]]" in prompt:
        return fields(reasoning="ask about the text", code="SUBMIT(answer=llm_query('How long?')[:8])")
    if "How long?" in prompt:
        return "42 years"
    return fields(reasoning="because", answer="42")


@pytest.fixture
def lm() -> Iterator[dspy.LM]:
    made = rf.scripted(reply)
    with dspy.context(lm=made):
        yield made
    made.engine.close()


def test_react_calls_its_tool(lm: dspy.LM) -> None:
    called: list[int] = []

    def double(number: int) -> int:
        """Twice a number."""
        called.append(number)
        return 2 * number

    found = dspy.ReAct("question -> answer", tools=[double], max_iters=3)(question="q")
    assert called == [21]
    assert found.answer == "42"
    assert len(lm.history) == 3


@pytest.mark.filterwarnings("ignore:.*experimental.*")
def test_rlm_asks_from_inside_its_interpreter(lm: dspy.LM) -> None:
    agent = dspy.RLM("context, query -> answer", max_iters=3, interpreter_factory=LocalInterpreter)
    assert agent(context="a long text", query="How long?").answer == "42 years"
    counters = lm.engine.runtime.run(lm.engine.runtime.backend.counters)
    assert counters.output_tokens > 0
    assert lm.engine.runtime.backend.running() == 0


def test_evaluate_runs_its_threads_over_one_engine(lm: dspy.LM) -> None:
    devset = [dspy.Example(question=f"q{i}", answer="42").with_inputs("question") for i in range(24)]
    judge = dspy.Evaluate(devset=devset, metric=dspy.evaluate.answer_exact_match, num_threads=8)
    assert judge(dspy.ChainOfThought("question -> answer")).score == 100.0
    assert len(lm.history) == 24


def test_an_agent_in_a_plan_makes_the_same_calls(lm: dspy.LM) -> None:
    class Agent(rf.Program):
        def __init__(self) -> None:
            self.agent = dspy.RLM("context, query -> answer", max_iters=3, interpreter_factory=LocalInterpreter)

        def plan(self, context: Any) -> Any:
            return {"answer": rf.call(self.agent, context=context, query="How long?", cap=4).answer}

    out = Agent()(context="a long text")
    assert out.answer == "42 years"
    assert [span.node for span in out.run.spans] == ["RLM", "RLM"]
