"""SpeculativePlanner: who answers, and what is never accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, BudgetExceeded, InputError
from reasonflow.gates.gate import Calibration
from reasonflow.gates.scores import Measured, Separability, TokenProbability, VoteShare
from reasonflow.programs.speculative import AGENT, SMALL, SpeculativePlanner
from reasonflow.programs.voted_answers import VotedAnswers

SURE, UNSURE = {"7": 0.97, "8": 0.02}, {"7": 0.5, "8": 0.45}


class Models:
    """The judge, the small model and the agent, by their prompts."""

    def __init__(self, *, free: str = "Yes", small: Any = SURE, agent: Any = r"Thought over. \boxed{42}") -> None:
        self.says = {
            "judge": free,
            "small": ("\\boxed{", small, "}") if isinstance(small, dict) else small,
            "agent": agent,
        }
        self.asked: list[str] = []

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        who = "judge" if "without any tool" in prompt else "small" if "just the final answer" in prompt else "agent"
        self.asked.append(who)
        if isinstance(self.says[who], Exception):
            raise self.says[who]
        return self.says[who]


def planner(**more: Any) -> SpeculativePlanner:
    options = {"gate": rf.Gate(TokenProbability(), 0.9), "agent": rf.ChainOfThought("problem -> answer"), **more}
    return SpeculativePlanner("problem -> answer", **options)


def run(models: Models, program: SpeculativePlanner | None = None, **engine: Any) -> Any:
    with dspy.context(lm=rf.scripted(models, **{"top_logprobs": 20, **engine})):
        return (program or planner())(problem="What is 6 times 7?")


def test_what_the_small_model_is_sure_of_needs_no_agent() -> None:
    models = Models()
    out = run(models)
    assert (out.answer, out.source) == ("7", SMALL)
    assert models.asked == ["judge", "small"]
    assert any("gate: accepted" in note for note in out.run.notes)


def test_the_judge_sends_to_the_agent_at_once() -> None:
    models = Models(free="No")
    out = run(models)
    assert (out.answer, out.source) == ("42", AGENT)
    assert models.asked == ["judge", "agent"]


@pytest.mark.parametrize(
    ("models", "why"),
    [
        (Models(small=UNSURE), "not accepted"),
        (Models(small=" "), "gave no answer"),
        (Models(small=BackendError("the engine is out of memory")), ""),
        (Models(free="Perhaps"), ""),
    ],
)
def test_what_is_not_sure_or_fails_goes_to_the_agent(models: Models, why: str) -> None:
    out = run(models)
    assert (out.answer, out.source) == ("42", AGENT)
    assert not why or any(why in note for note in out.run.notes)


def test_without_a_judge_the_small_model_is_always_asked() -> None:
    models = Models(free="No")
    assert run(models, planner(judge=False)).source == SMALL
    assert models.asked == ["small"]


def test_a_score_may_be_of_the_whole_record() -> None:
    gate = rf.Gate(Measured("short", lambda record: float(len(record.answer) < 2)), 0.5)
    assert run(Models(), planner(gate=gate)).source == SMALL
    assert run(Models(small="\\boxed{77}"), planner(gate=gate)).source == AGENT


def test_a_score_that_raises_accepts_nothing() -> None:
    out = run(Models(), planner(gate=rf.Gate(Measured("broken", lambda record: record["nope"]), 0.5)))
    assert out.source == AGENT
    assert any("not scored" in note for note in out.run.notes)


@pytest.mark.parametrize(
    ("gate", "engine", "what"),
    [
        (rf.Gate(TokenProbability()), {}, "the gate has no threshold"),
        (rf.Gate(Separability(), 0.98), {}, "takes 64 log-probabilities"),
        (rf.Gate(TokenProbability(), 0.9), {"top_logprobs": 0}, "takes 1 log-probabilities"),
    ],
)
@pytest.mark.parametrize("hedge", [False, True])
def test_a_gate_that_cannot_be_used_is_refused_before_anything_is_spent(
    gate: rf.Gate, engine: dict[str, Any], what: str, hedge: bool
) -> None:
    models = Models()
    with pytest.raises(InputError, match=what):
        run(models, planner(gate=gate, hedge=hedge), **engine)
    assert not models.asked


def test_a_gate_of_another_model_is_refused() -> None:
    gate = rf.Gate(TokenProbability())
    settings = gate.score.settings
    gate.set(0.9, Calibration(method="by hand", digest="", samples=0, model="another", settings=settings))
    with pytest.raises(InputError, match="calibrated on another model"):
        run(Models(), planner(gate=gate))
    gate.set(0.9, Calibration(method="by hand", digest="", samples=0, model="scripted", settings=settings))
    assert run(Models(), planner(gate=gate)).source == SMALL


def test_each_asks_its_own_model() -> None:
    small, large = Models(), Models()
    lms = {"small": rf.scripted(small, model="tiny", top_logprobs=20), "large": rf.scripted(large, model="huge")}
    program = planner(gate=rf.Gate(TokenProbability(), 0.999), **lms)
    with dspy.context(lm=rf.scripted("unused")):
        out = program(problem="What is 6 times 7?")
    assert out.source == AGENT
    assert (small.asked, large.asked) == (["small"], ["judge", "agent"])


# A small program ------------------------------------------------------------------------------------------------------


def thinking(*chances: float) -> tuple[Any, ...]:
    """A solution whose every word is unsure, but for its answer, whose tokens have these chances."""
    other = [{str(place + 1): chance, "0": (1 - chance) / 2} for place, chance in enumerate(chances)]
    return ({" So": 0.3, " Or": 0.2}, " it is \\boxed{", *other, "} dollars.")


def reasoner(**config: Any) -> rf.ChainOfThought:
    return rf.ChainOfThought(config={"logprobs": 1, "temperature": 0.0, **config})


class Thinkers(Models):
    """The small one is told by its language model, as it has no prompt of its own."""

    def __init__(self, small: Any, **says: Any) -> None:
        super().__init__(**says)
        script = (lambda *_: small) if isinstance(small, tuple) else small
        self.lm = rf.scripted(script, model="tiny", top_logprobs=20)


def test_a_small_program_is_scored_by_the_tokens_of_its_answer_alone() -> None:
    for chances, source in (((0.95, 0.96), SMALL), ((0.95, 0.5), AGENT)):
        models = Thinkers(thinking(*chances))
        out = run(models, planner(small=models.lm, small_program=reasoner()))
        assert (out.answer, out.source) == ({SMALL: "12", AGENT: "42"}[source], source)
        assert models.asked == (["judge"] if source == SMALL else ["judge", "agent"])


def test_a_small_program_without_a_box_is_not_scored() -> None:
    models = Thinkers("The answer is 12.")
    out = run(models, planner(gate=rf.Gate(TokenProbability(), 0.0), small=models.lm, small_program=reasoner()))
    assert out.source == AGENT
    assert any("not scored" in note for note in out.run.notes)


@pytest.mark.parametrize(("need", "source"), [(0.75, SMALL), (0.8, AGENT)])
def test_a_vote_is_scored_by_what_its_samples_answer(need: float, source: str) -> None:
    models = Thinkers(lambda prompt, seed, index: rf"\boxed{{{7 if index else '8.50'}}}")
    votes = VotedAnswers(n=4)
    out = run(models, planner(gate=rf.Gate(VoteShare(), need), small=models.lm, small_program=votes))
    assert (out.answer, out.source) == ("7" if source == SMALL else "42", source)
    assert "answers" not in out


def test_a_run_that_is_cut_short_returns_no_answer_that_its_gate_has_refused() -> None:
    models = Thinkers(thinking(0.5, 0.5))
    program = planner(small=models.lm, small_program=reasoner(), judge=False)
    program.budget = rf.Budget(seconds=0.5)
    with pytest.raises(BudgetExceeded):
        run(models, program, latency=5.0)


def test_a_small_program_has_its_own_settings_and_asks_a_model() -> None:
    class Silent(rf.Program):
        def plan(self, problem: Any) -> Any:
            return rf.answer(problem)

    with pytest.raises(InputError, match="both a small program and a config"):
        planner(small_program=reasoner(), config={"max_tokens": 5})
    with pytest.raises(InputError, match="Silent asks no model"):
        planner(small_program=Silent())


# Hedging --------------------------------------------------------------------------------------------------------------


def slowly(request: Any, index: int) -> float:
    text = str(request.prompt.messages)
    return 0.05 if "without any tool" in text or "just the final answer" in text else 0.5


def agent_waits(run: Any) -> bool:
    """Whether the judge has ended when the agent begins."""
    spans = {span.node.rpartition("/")[2]: span for span in run.spans}
    return bool(spans["agent.solve"].started_s >= spans["judge"].started_s + spans["judge"].total_s)


def test_a_hedged_agent_leaves_the_engine_where_it_is_not_needed() -> None:
    out = run(Models(), planner(hedge=True), latency=slowly)
    assert out.source == SMALL
    assert out.run.usage.cancelled_calls == 1


def test_a_hedged_agent_has_begun_where_it_is_needed() -> None:
    for models in (Models(small=UNSURE), Models(free="No"), Models(small=BackendError("gone"))):
        hedged, plain = run(models, planner(hedge=True), latency=slowly), run(models, latency=slowly)
        assert (hedged.source, hedged.answer, plain.answer) == (AGENT, "42", "42")
        assert models.asked.count("agent") == 2
        assert [agent_waits(out.run) for out in (hedged, plain)] == [False, True]


# Tools ----------------------------------------------------------------------------------------------------------------


def calculator(expression: str) -> str:
    """Computes a product."""
    first, second = expression.split("*")
    return str(int(first) * int(second))


def test_the_default_agent_calls_the_tools() -> None:
    def model(prompt: str, seed: int | None, index: int) -> str:
        if "without any tool" in prompt:
            return "No"
        if "next_tool_name" not in prompt:
            return "[[ ## reasoning ## ]]\nThe tool says so.\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"
        done = "observation_0" in prompt
        name, args = ("finish", "{}") if done else ("calculator", '{"expression": "6*7"}')
        return (
            f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
            f"[[ ## next_tool_args ## ]]\n{args}\n\n[[ ## completed ## ]]"
        )

    program = SpeculativePlanner("problem -> answer", rf.Gate(TokenProbability(), 0.9), tools=[calculator])
    with dspy.context(lm=rf.scripted(model, top_logprobs=20)):
        out = program(problem="What is 6 times 7?")
        assert program.explain().bound.calls == 8
    assert (out.answer, out.source, out.run.usage.calls) == ("42", AGENT, 4)


def test_it_needs_a_gate_and_something_to_fall_back_on() -> None:
    gate = rf.Gate(TokenProbability(), 0.9)
    with pytest.raises(InputError, match="without a gate"):
        SpeculativePlanner(tools=[calculator])
    with pytest.raises(InputError, match="needs tools"):
        SpeculativePlanner(gate=gate)
    with pytest.raises(InputError, match="nobody knows how many model calls ReAct makes"):
        SpeculativePlanner(gate=gate, agent=dspy.ReAct("problem -> answer", [calculator]))
    with pytest.raises(InputError, match="both tools and an agent"):
        SpeculativePlanner(gate=gate, tools=[calculator], agent=rf.ChainOfThought())


def test_it_is_saved_with_its_calibration_and_loaded(tmp_path: Path) -> None:
    program = planner(gate=rf.Gate(TokenProbability()))
    found = Calibration(
        method="simultaneous bound", digest="d", samples=9, model="", settings=program.gate.score.settings
    )
    program.gate.set(0.9, found)
    program.save(tmp_path / "planner.json")
    again = rf.load(tmp_path / "planner.json")
    assert (again.gate.threshold, again.gate.calibration) == (0.9, found)
    assert run(Models(), again).source == SMALL
    with pytest.raises(InputError, match="argument 'gate' of SpeculativePlanner cannot be saved"):
        planner(gate=rf.Gate(Measured("mine", len), 0.5)).save(tmp_path / "other.json")


# The engine -----------------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_on_the_engine_the_gate_decides_who_answers(embedded_lm: dspy.LM) -> None:
    problem = "There are 4 red cups. There are 3 more blue cups than red cups. How many blue cups are there?"
    with dspy.context(lm=embedded_lm):
        free = SpeculativePlanner(gate=rf.Gate(Separability(k=20), 0.0), agent=rf.ChainOfThought(), judge=False)
        strict = SpeculativePlanner(gate=rf.Gate(Separability(k=20), 1.0), agent=rf.ChainOfThought(), judge=False)
        sure, doubtful = free(problem=problem), strict(problem=problem)
    assert (sure.source, doubtful.source) == (SMALL, AGENT)
    assert any("gate: accepted, 0." in note for note in sure.run.notes)
    assert doubtful.answer == "7"
