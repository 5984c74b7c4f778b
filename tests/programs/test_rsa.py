"""Recursive Self-Aggregation: who reads whom."""

from __future__ import annotations

import re
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BackendError, InputError


class Population:
    """Every candidate has a number of its own, in order of arrival; `read` are those each aggregation saw."""

    def __init__(self) -> None:
        self.read: dict[int, list[int]] = {}
        self.made = 0

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        number, self.made = self.made, self.made + 1
        if "earlier attempts" in prompt:
            self.read[number] = [int(found) for found in re.findall(r"Candidate number (\d+)\.", prompt)]
        return rf"Candidate number {number}. \boxed{{{number % 2}}}"


def run(program: rf.Program, seed: int = 0) -> tuple[Any, Population]:
    population = Population()
    with dspy.context(lm=rf.scripted(population, seed=seed)):
        return program(problem="How many?"), population


def test_each_round_is_made_out_of_k_of_the_round_before() -> None:
    program = rf.RSA(n=6, k=3, rounds=2)
    out, population = run(program)
    assert out.run.usage.calls == population.made == 6 * 3
    with dspy.context(lm=rf.scripted("x")):
        bound = program.explain().bound
    assert (bound.calls, bound.alive) == (18, 6)
    for number, read in population.read.items():
        before = number // 6 - 1
        assert len(set(read)) == 3
        assert {found // 6 for found in read} == {before}
    assert len({tuple(read) for read in population.read.values()}) > 2
    assert len(out.run.critical_path) == 3


def test_the_answer_is_the_majority_of_the_last_population() -> None:
    def script(prompt: str, seed: int | None, index: int) -> str:
        if "earlier attempts" not in prompt:
            return r"\boxed{first}"
        return r"\boxed{last}"

    with dspy.context(lm=rf.scripted(script)):
        assert rf.RSA(n=3, k=2, rounds=1)(problem="p").answer == "last"


def test_with_one_candidate_each_it_refines_side_by_side() -> None:
    _, population = run(rf.RSA(n=4, k=1, rounds=2))
    assert len(population.read) == 8
    # Each of a round is read exactly once in the next: four chains.
    assert sorted(read[0] for read in population.read.values()) == list(range(8))


def test_equal_seeds_draw_equally() -> None:
    def sets(seed: int) -> list[list[int]]:
        return sorted(run(rf.RSA(n=6, k=2, rounds=1, seed=seed))[1].read.values())

    assert sets(3) == sets(3) != sets(4)


def test_a_candidate_that_failed_is_not_read() -> None:
    seen: list[str] = []

    def script(prompt: str, seed: int | None, index: int) -> Any:
        if "earlier attempts" in prompt:
            seen.append(prompt)
            return r"\boxed{2}"
        return "nothing to read" if index == 0 else f"[[ ## size ## ]]\n{index}\n\n[[ ## completed ## ]]"

    def both(prompt: str, seed: int | None, index: int) -> Any:
        found = script(prompt, seed, index)
        return "[[ ## size ## ]]\n2\n\n[[ ## completed ## ]]" if "boxed" in str(found) else found

    for k in (1, 2):
        with dspy.context(lm=rf.scripted(both)):
            assert rf.RSA("problem -> size: int", n=3, k=k, rounds=1)(problem="p").size == 2
    assert len(seen) == 6
    assert not any("nothing to read" in prompt for prompt in seen)


def test_a_round_that_fails_whole_fails_the_run() -> None:
    def script(prompt: str, seed: int | None, index: int) -> Any:
        return BackendError("broken") if "earlier attempts" in prompt else r"\boxed{1}"

    with dspy.context(lm=rf.scripted(script)), pytest.raises(Exception, match="broken"):
        rf.RSA(n=2, k=1, rounds=1)(problem="p")


@pytest.mark.parametrize("options", [{"n": 0}, {"k": 0}, {"n": 3, "k": 4}, {"rounds": 0}])
def test_sizes_that_make_no_aggregation_are_refused(options: Any) -> None:
    with pytest.raises(InputError, match="makes no aggregation"):
        rf.RSA(**options)
