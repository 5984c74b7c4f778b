"""Best-of-N: which candidate wins, and what happens to those that cannot."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, InputError, RunError

CHANCES = {"10": 0.2, "11": 0.9, "12": 0.4, "13": 0.9}


def judging(prompt: str, seed: int | None, index: int) -> Any:
    """Candidates 10, 11, 12, ..., each judged by its number."""
    if "Yes or No" not in prompt:
        return rf"I counted. \boxed{{{10 + index}}}"
    chance = next(chance for number, chance in CHANCES.items() if rf"\boxed{{{number}}}" in prompt)
    return {"Yes": chance, "No": 1 - chance}


def run(program: rf.Program, script: Any = judging, **options: Any) -> Any:
    with dspy.context(lm=rf.scripted(script, **options)):
        return program(problem="How many?")


def test_the_likeliest_yes_wins_and_the_earlier_among_equals() -> None:
    out = run(rf.BestOfN(n=4))
    assert out.answer == "11"
    assert out.run.usage.calls == 8
    assert out.run.notes == ["eligible: scores: 0.2, 0.9, 0.4, 0.9"]


def test_it_makes_at_most_the_calls_it_says() -> None:
    with dspy.context(lm=rf.scripted(judging)):
        bound = rf.BestOfN(n=4).explain().bound
    assert (bound.calls, bound.alive) == (8, 4)


def test_the_width_is_a_choice() -> None:
    program = rf.BestOfN(n=4)
    program.n.set(2)
    assert run(program).run.usage.calls == 4


def test_the_problem_stands_before_the_candidate() -> None:
    prompts: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> Any:
        prompts.append(prompt)
        return judging(prompt, seed, index)

    run(rf.BestOfN(n=2), script)
    judged = [prompt for prompt in prompts if "Yes or No" in prompt]
    fronts = {prompt.split("## Candidate")[0] for prompt in judged}
    assert len(judged) == 2
    assert len(fronts) == 1
    assert "How many?" in fronts.pop()


def test_a_function_is_a_rule() -> None:
    out = run(rf.BestOfN(n=4, verifier=lambda inputs, candidate: candidate.answer == "12" and bool(inputs["problem"])))
    assert (out.answer, out.run.usage.calls) == ("12", 4)


def test_the_candidate_a_rule_fails_on_is_not_chosen() -> None:
    def rule(inputs: Any, candidate: Any) -> float:
        if candidate.answer == "13":
            raise ValueError("cannot check this one")
        return float(candidate.answer)

    out = run(rf.BestOfN(n=4, verifier=rule))
    assert out.answer == "12"
    assert out.run.notes == ["eligible: scores: 10, 11, 12, none"]
    assert any("cannot check this one" in failure for failure in out.run.failures)


def test_if_nothing_has_a_score_the_run_fails() -> None:
    def rule(inputs: Any, candidate: Any) -> str:
        return "good"

    with pytest.raises(RunError, match="none of the 2 candidates has a score") as caught:
        run(rf.BestOfN(n=2, verifier=rule))
    assert "a rule gave 'good'" in caught.value.run.failures[0]


def test_without_an_answer_a_candidate_loses_to_one_with() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        return [r"\boxed{7}", "I give up", r"\boxed{8}"][index]

    def rule(inputs: Any, candidate: Any) -> float:
        return {"7": 0.1, "8": 0.2, None: 0.9}[candidate.answer]

    assert run(rf.BestOfN(n=3, verifier=rule), script).answer == "8"


def test_answers_that_are_false_are_answers() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        return f"[[ ## count ## ]]\n{index}\n\n[[ ## completed ## ]]"

    program = rf.BestOfN("problem -> count: int", n=2, verifier=lambda inputs, candidate: -candidate.count)
    assert run(program, script).count == 0


def test_a_candidate_that_failed_keeps_its_place() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        return "no field here" if index == 0 else f"[[ ## count ## ]]\n{index}\n\n[[ ## completed ## ]]"

    seen: list[Any] = []

    class Spy:
        def scores(self, inputs: Any, candidates: Any) -> Any:
            return rf.call(self.score, candidates)

        def score(self, candidates: list[Any]) -> list[float]:
            seen.extend(candidates)
            return [9.0, 1.0, 2.0]

    out = run(rf.BestOfN("problem -> count: int", n=3, verifier=Spy()), script)
    assert [bool(candidate) for candidate in seen] == [False, True, True]
    assert out.count == 2


def test_a_verifier_that_loses_a_place_is_told_so() -> None:
    class Short:
        def scores(self, inputs: Any, candidates: Any) -> Any:
            return rf.call(lambda candidates: [1.0], candidates)

    with pytest.raises(RunError, match="1 scores for 2 candidates"):
        run(rf.BestOfN(n=2, verifier=Short()))


def test_a_judgement_that_fails_costs_its_candidate_only() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        if "Yes or No" in prompt and r"\boxed{11}" in prompt:
            return BackendError("broken")
        return judging(prompt, seed, index)

    out = run(rf.BestOfN(n=4), script)
    assert out.answer == "13"
    assert out.run.notes[-1] == "eligible: scores: 0.2, none, 0.4, 0.9"


def test_cut_before_the_judgements_it_gives_the_majority() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        if "Yes or No" in prompt:
            return "No"
        return rf"\boxed{{{[5, 6, 6][index]}}}"

    program = rf.BestOfN(n=3)
    slow = run_slowly(program, script)
    assert (slow.answer, slow.run.complete) == ("6", False)


def run_slowly(program: rf.BestOfN, script: Any) -> Any:
    """A run whose time ends while the judgements are under way."""
    program.budget = rf.Budget(seconds=0.5)
    return run(program, script, latency=lambda request, index: 30.0 if "judge" in request.label else 0.0)


@pytest.mark.parametrize("calls", range(1, 9))
def test_no_budget_of_calls_is_exceeded_and_each_gives_an_answer(calls: int) -> None:
    program = rf.BestOfN(n=4)
    program.budget = rf.Budget(calls=calls)
    out = run(program)
    assert out.answer in CHANCES
    assert out.run.usage.calls <= calls


@pytest.mark.parametrize("verifier", [3, "good", rf.YesProbability])
def test_what_verifies_nothing_is_refused(verifier: Any) -> None:
    with pytest.raises(InputError, match="verifies nothing"):
        rf.BestOfN(verifier=verifier)
