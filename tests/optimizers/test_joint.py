"""rf.compile over several phases: their order, their budget, gates on examples kept aside, one artifact."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded, InputError
from reasonflow.gates.scores import TokenProbability
from reasonflow.optimizers import prompts_phase
from reasonflow.optimizers.compile_division import mark
from reasonflow.optimizers.compile_shares import Shares
from reasonflow.optimizers.gate_samples import label
from reasonflow.optimizers.gates import Sample, calibrate
from reasonflow.runtime.ledger import Amount
from tests.optimizers.gated_votes import Guarded
from tests.optimizers.scripted_votes import Vote, examples, right_by

PLENTY = rf.Budget(calls=6_000)
BOTH = ("topology", "gates")
LOOSE: dict[str, Any] = {"alpha": 0.2, "delta": 0.2}


def answering(share: float, asked: list[str]) -> Any:
    """As `right_by`; a careful call is always right. Instructions that say so make every sample right."""
    vote = right_by(share, asked)

    def answer(prompt: str, seed: int, index: int) -> str:
        if "careful" in prompt.lower():
            number = re.findall(r"What is (\d+)", prompt)[-1]
            asked.append(f"careful {number}")
            return rf"\boxed{{{number}}}"
        return vote(prompt, seed, index)

    return answer


def joint(program: Any = None, *, share: float = 0.55, count: int = 90, asked: Any = None, **options: Any) -> Any:
    asked = [] if asked is None else asked
    arguments: dict[str, Any] = {"optimize": BOTH, "budget": PLENTY, **LOOSE, **options}
    lm = rf.scripted(answering(share, asked), max_tokens=32)
    made = rf.compile(program or Guarded(threshold=0.5), examples(count), rf.math_equal, lm=lm, **arguments)
    made.asked = len(asked)
    return made


# Gates last, on unused data ------------------------------------------------------------------------------------------


def test_gates_are_calibrated_on_examples_that_no_trial_has_seen() -> None:
    seen: set[str] = set()

    def metric(example: Any, prediction: Any) -> bool:
        seen.add(example.problem)
        return bool(rf.math_equal(example, prediction))

    lm = rf.scripted(answering(0.55, []), max_tokens=32)
    made = rf.compile(Guarded(threshold=0.5), examples(90), metric, lm=lm, optimize=BOTH, budget=PLENTY, **LOOSE)
    report = made.compile_report
    assert report["data"]["measured"]["examples"] == 60
    assert report["data"]["aside"]["examples"] == 30
    assert all(trial["examples"] <= 60 for trial in report["trials"])
    assert len(seen) == 90
    assert report["used"] == sorted(mark({"problem": example.problem}) for example in examples(90))
    [gate] = report["gates"]
    assert gate["samples"] == made.gate.calibration.samples == 30


def test_the_threshold_is_of_the_setting_that_was_chosen() -> None:
    """Two samples agree by chance far more often than eight: a share that is enough of eight is not of two."""
    program = Guarded(rf.Choice(2, options=[2, 8]), threshold=0.9)
    narrow = joint(Guarded(rf.Choice(2), threshold=0.9), optimize=("gates",), count=66)
    chosen = joint(program, count=198)
    assert int(chosen.n) == 8
    assert narrow.gate.threshold is None or narrow.gate.threshold > 0.5
    assert chosen.gate.threshold <= 0.5


def test_what_passes_is_wrong_as_rarely_as_promised() -> None:
    made = joint(optimize=("gates",), share=0.7, count=220, alpha=0.1, delta=0.1)
    with dspy.context(lm=rf.scripted(answering(0.7, []), max_tokens=32)):
        outs = [(example, made(problem=example.problem)) for example in examples(280)[220:]]
    passed = [rf.math_equal(example, out) for example, out in outs if out.run.usage.calls == int(made.n)]
    assert 20 < len(passed) < 60
    assert sum(not right for right in passed) <= 0.15 * len(passed)


class Particular(Guarded):
    """Its gate is told which model its samples come from."""

    def kept(self, drafts: Any) -> bool:
        return self.gate.decide([draft["answer"] for draft in drafts], model="this").accepted


def test_a_gate_that_was_calibrated_on_another_model_does_not_stop_the_search_and_is_calibrated_anew() -> None:
    program = Particular(threshold=0.5)
    calibrate(program.gate, [Sample(1.0, True)] * 40, model="another", **LOOSE)
    before = program.gate.calibration
    made = joint(program)
    assert program.gate.calibration is before
    assert (made.gate.calibration.samples, made.gate.calibration.model) == (30, "this")
    assert made.compile_report["spent_by"]["gates"]["calls"] >= 30
    with dspy.context(lm=rf.scripted(answering(0.5, []))), pytest.raises(rf.ReasonFlowError, match="another model"):
        program(problem="What is 1?")


def test_a_planner_and_its_judge() -> None:
    def model(prompt: str, seed: int, index: int) -> Any:
        number = int(re.findall(r"What is (\d+)", prompt)[-1])
        if "just the final answer" not in prompt:
            return rf"\boxed{{{number}}}"
        wrong = number % 3 == 0
        return ({"7": 0.6, "8": 0.4},) if wrong else (str(number // 10), {str(number % 10): 0.99, "x": 0.01})

    planner = rf.SpeculativePlanner(gate=rf.Gate(TokenProbability()), agent=rf.ChainOfThought(), judge=False)
    asked = examples(150)
    lm = rf.scripted(model, top_logprobs=20)
    made: Any = rf.compile(planner, asked, rf.math_equal, lm=lm, optimize=("gates",), budget=rf.Budget(calls=150))
    assert made.compile_report["spent"]["calls"] == 150, "one call of the small model an example, and no agent's"
    assert made.gate.calibration.model == "scripted"
    assert 0.6 < made.gate.calibration.acceptance < 0.7
    with pytest.raises(InputError, match="150 calls; the budget allows 149"):
        rf.compile(planner, asked, rf.math_equal, lm=lm, optimize=("gates",), budget=rf.Budget(calls=149))
    with pytest.raises(InputError, match=r"has no front"):
        made.front


def test_each_gate_of_asynchronous_scaling_is_calibrated_on_its_turn() -> None:
    def draft(prompt: str, seed: int, index: int) -> Any:
        number, written = int(re.findall(r"What is (\d+)", prompt)[-1]), prompt.rpartition("What is ")[2]
        if "|" not in written:
            return ({"yes": 0.99, "no": 0.01}, " | and so on and on")
        wrong = number % 4 == 0
        sure: dict[str, float] = {"yes": 0.5, "no": 0.3} if wrong else {"yes": 0.99, "no": 0.01}
        return (sure, rf" \boxed{{{number + wrong}}}")

    gates = [rf.Gate(TokenProbability()), rf.Gate(TokenProbability())]
    program = rf.AsyncScaling("problem -> answer", gates, n=2, turns=4, chunk=4, scoring="draft")
    lm = rf.scripted(draft, model="small", top_logprobs=20)
    budget = rf.Budget(calls=4 * 120)
    made: Any = rf.compile(program, examples(120), rf.math_equal, lm=lm, optimize=("gates",), budget=budget)
    assert [told["gate"] for told in made.compile_report["gates"]] == ["gate[0]", "gate[1]"]
    assert [gate.calibration.acceptance for gate in made.gates] == [0.0, 0.75]
    assert made.compile_report["spent"]["calls"] == 2 * 120, "two chunks of one sample an example"
    assert gates[0].calibration is None, "the given program is left as it is"


def test_a_constant_metric_calibrates_nothing() -> None:
    for given in (0.0, 1.0):
        with pytest.raises(InputError, match=f"the metric gave {given:g} for each of the 90 samples"):
            rf.compile(
                Guarded(rf.Choice(2)),
                examples(90),
                lambda example, prediction, given=given: given,
                lm=rf.scripted(answering(0.5, [])),
                optimize=("gates",),
                budget=PLENTY,
            )


def test_a_gate_that_is_hardly_asked_lets_nothing_pass() -> None:
    class Seldom(Guarded):
        def kept(self, drafts: Any) -> bool:
            number = int(drafts[0]["answer"])
            return self.gate.decide(["1"]).accepted if number % 20 == 0 else False

    made = joint(Seldom(rf.Choice(2), threshold=0.5), optimize=("gates",), share=1.0)
    [told] = made.compile_report["gates"]
    assert 0 < told["samples"] < 8
    assert "nothing passes" in told["said"]
    assert not made.gate.decide(["1"]).accepted


@pytest.mark.anyio
async def test_an_unscored_value_and_a_run_without_a_result_are_no_reasons_to_pass() -> None:
    class Odd(Guarded):
        def kept(self, drafts: Any) -> bool:
            return self.gate.decide([None] if int(drafts[0]["answer"]) == 100 else ["1"]).accepted

    def raising(example: Any, prediction: Any) -> bool:
        raise ValueError("the metric's own")

    import anyio.to_thread

    lm = rf.scripted(answering(1.0, []))

    def work() -> Any:
        return label(Odd(rf.Choice(2)), examples(3), raising, lm=lm, seed=0, concurrency=2)

    [found] = await anyio.to_thread.run_sync(work)
    assert [math.isnan(score) for score, _ in found.samples] == [True, False, False]
    assert [right for _, right in found.samples] == [False] * 3


# The budget ----------------------------------------------------------------------------------------------------------


def test_shares_add_up_and_what_is_left_passes_on() -> None:
    shares = Shares(budget=rf.Budget(calls=1_000, seconds=100), phases=("prompts", "topology", "gates"), gate_calls=200)
    promised = [shares.promised(name).limits for name in shares.phases]
    assert sum(each["calls"] for each in promised) == 1_000
    assert promised[2]["calls"] == 200
    assert [round(each["seconds"]) for each in promised] == [50, 40, 10]
    spent = {"prompts": Amount(calls=100), "topology": Amount(calls=300)}
    assert shares.left("topology", spent).calls == 700
    assert shares.left("gates", spent).calls == 600
    with pytest.raises(BudgetExceeded, match="nothing is left for the gates"):
        shares.left("gates", {"topology": Amount(calls=1_000)})


@pytest.mark.parametrize("calls", [600, 800, 1_500])
def test_the_budget_is_hard_and_the_gates_have_theirs(calls: int) -> None:
    made = joint(budget=rf.Budget(calls=calls))
    report = made.compile_report
    assert made.asked <= report["spent"]["calls"] <= calls
    by = report["spent_by"]
    assert by["topology"]["calls"] + by["gates"]["calls"] == report["spent"]["calls"]
    assert report["shares"]["gates"]["calls"] >= 30 * 9, "eight samples and a careful one"
    assert made.gate.calibration.samples == 30


def test_a_budget_in_tokens_that_ends_at_the_gates_says_so_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []
    options: dict[str, Any] = {"out": tmp_path, "optimize": ("gates",), "count": 40, "asked": asked}
    with pytest.raises(BudgetExceeded, match="the gates could not be calibrated on 40 examples"):
        joint(budget=rf.Budget(total=1_500), **options)
    first = len(asked)
    assert 0 < first < 4 * 40
    made = joint(budget=rf.Budget(total=100_000), **options)
    whole = joint(budget=rf.Budget(total=100_000), optimize=("gates",), count=40)
    assert made.gate.threshold == whole.gate.threshold
    assert made.compile_report["spent"]["total"] >= whole.compile_report["spent"]["total"]


def test_a_budget_of_the_programs_own_is_part_of_the_program() -> None:
    program = Guarded(rf.Choice(4), threshold=0.5)
    program.budget = rf.Budget(calls=4)
    made = joint(program, optimize=("gates",), budget=rf.Budget(calls=500))
    [told] = made.compile_report["gates"]
    assert told["samples"] == 90
    assert made.compile_report["spent"]["calls"] <= 4 * 90


# The artifact and the record -----------------------------------------------------------------------------------------


def test_the_artifact_holds_topology_gates_and_the_report(tmp_path: Path) -> None:
    made = joint(out=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model, in no context
        back: Any = rf.load(tmp_path / "guarded.json", allow=[Guarded])
    assert int(back.n) == int(made.n)
    assert (back.gate.threshold, back.gate.calibration) == (made.gate.threshold, made.gate.calibration)
    report = back.compile_report
    assert report == json.loads(json.dumps(made.compile_report))
    assert back.front == made.front
    assert {"reasonflow", "dspy"} <= report["versions"].keys()
    assert report["model"]["model"] == "scripted"
    assert (report["seed"], report["optimize"]) == (0, ["topology", "gates"])
    assert {"digest", "examples"} == report["data"]["aside"].keys()


def test_the_same_call_again_runs_nothing(tmp_path: Path) -> None:
    first, again = (joint(out=tmp_path, count=36) for _ in range(2))
    assert again.asked == 0 < first.asked
    same = {"spent": None}
    assert {**again.compile_report, **same} == {**first.compile_report, **same}
    with pytest.raises(InputError, match=r"(?s)another compile.*alpha"):
        joint(out=tmp_path, count=36, alpha=0.3)


# Prompts, with a tuner that stands for DSPy's -------------------------------------------------------------------------


class Tuner:
    """Writes an instruction that makes every answer right, and says what it spent."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.asked: list[dict[str, Any]] = []

    def __call__(self, program: Any, trainset: Any, metric: Any, **options: Any) -> Any:
        self.asked.append({"trainset": trainset, **options})
        tuned = program.deepcopy()
        tuned.solve.signature = tuned.solve.signature.with_instructions("Be careful.")
        tuned.solve.demos = [dspy.Example(problem="What is 1?", answer="1")]
        tuned.compile_report = {"spent": {"calls": self.calls, "total": 10 * self.calls, "seconds": 1.0}, "by": "tuner"}
        return tuned


def test_prompts_come_first_and_their_share_passes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = Tuner(100)
    monkeypatch.setattr(prompts_phase, "tune_prompts", tuner)
    everything = ("gates", "prompts", "topology")
    made = joint(optimize=everything, out=tmp_path, prompts_by="gepa")
    [call] = tuner.asked
    assert call["by"] == "gepa"
    assert call["budget"] == rf.Budget(calls=3_000)
    assert (len(call["trainset"]), len(call["valset"])) == (30, 30)
    report = made.compile_report
    assert report["optimize"] == ["prompts", "topology", "gates"]
    assert report["spent_by"]["prompts"]["calls"] == 100
    assert report["spent"]["calls"] == sum(amount["calls"] for amount in report["spent_by"].values())
    assert report["prompts"]["by"] == "tuner"
    assert made.solve.signature.instructions == "Be careful."
    assert all(point.accuracy == 1.0 for point in made.front.points), "the search runs the tuned program"
    assert made.compile_report["gates"][0]["acceptance"] == 1.0
    known = {example.problem for example in (*call["trainset"], *call["valset"])}
    assert len(known) == 60

    again = joint(optimize=everything, out=tmp_path, prompts_by="gepa")
    assert (len(tuner.asked), again.asked) == (1, 0), "what prompts have ended with is on the record"
    assert again.solve.demos[0]["answer"] == "1"
    back: Any = rf.load(tmp_path / "guarded.json", allow=[Guarded])
    assert back.solve.signature.instructions == "Be careful."
    assert back.gate.threshold == made.gate.threshold


# Refused before anything is spent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"program": Vote(), "optimize": ("gates",)}, "has no gates"),
        ({"program": Guarded()}, "the gate 'gate' has no threshold"),
        ({"count": 20}, "7 of 20 examples are for the gates"),
        ({"count": 60, "alpha": 0.01}, "takes 161, even without an error"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"delta": 0}, "delta is 0"),
        ({"budget": rf.Budget(calls=200)}, "calibrating the gates takes up to 270 calls"),
        ({"budget": rf.Budget(calls=300)}, "one evaluation takes up to 180 calls; the budget allows 30"),
        ({"testset": examples(3)}, "example 0 of testset stands in trainset or valset"),
        ({"testset": []}, "testset is empty"),
    ],
)
def test_bad_input_costs_nothing(options: dict[str, Any], words: str) -> None:
    asked: list[str] = []
    with pytest.raises(InputError) as raised:
        joint(asked=asked, **options)
    assert words in str(raised.value)
    assert not asked
