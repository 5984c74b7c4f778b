"""PDR's distillers: what each passes on, and how many calls that takes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.programs.picks import best_in_order, best_numbers, drawn

CALLS = {"summary": (29, 3), "top_k": (29, 3), "per_sample": (29, 8 + 4 + 1), "random_k": (29, 0)}
"""Generation and distillation calls for widths (16, 8, 4)."""


class Engine:
    """Numbers the drafts by their seeds, grades by the seed too, and keeps the prompts by their kind."""

    def __init__(self) -> None:
        self.prompts: dict[str, list[str]] = {"draft": [], "distill": [], "refine": []}

    def __call__(self, prompt: str, seed: int | None, index: int) -> str:
        number = (seed or 0) % 1000
        if "name the best" in prompt:
            self.prompts["distill"].append(prompt)
            return f"{number % 8 + 1}, {number % 5 + 1}"
        if "Write notes" in prompt:
            self.prompts["distill"].append(prompt)
            return f"note {number}"
        self.prompts["refine" if "The workspace was taken" in prompt else "draft"].append(prompt)
        return rf"Draft {number}. \boxed{{{number % 3}}}"


def run(program: rf.Program, seed: int = 0) -> tuple[Any, Engine]:
    engine = Engine()
    with dspy.context(lm=rf.scripted(engine, seed=seed)):
        return program(problem="How many?"), engine


def workspaces(engine: Engine) -> list[list[str]]:
    """The drafts in each refinement's workspace, in the order of the prompts."""
    return [re.findall(r"Draft \d+", prompt) for prompt in engine.prompts["refine"]]


@pytest.mark.parametrize("distiller", CALLS)
def test_as_many_calls_as_published(distiller: Any) -> None:
    program = rf.PDR(widths=(16, 8, 4), distiller=distiller)
    generations, distillations = CALLS[distiller]
    with dspy.context(lm=rf.scripted("x")):
        assert program.explain().bound.calls == generations + distillations
    out, engine = run(program)
    assert len(engine.prompts["draft"]) == 16
    assert len(engine.prompts["refine"]) == 8 + 4 + 1
    assert len(engine.prompts["distill"]) == distillations
    assert out.run.usage.calls == generations + distillations
    # The longest way: one draft of each of four rounds, and one distillation before each but the first.
    assert len(out.run.critical_path) == 4 + (3 if distillations else 0)


@pytest.mark.parametrize("distiller", ["summary", "top_k"])
def test_a_shared_workspace_makes_one_prompt_a_round(distiller: Any) -> None:
    _, engine = run(rf.PDR(widths=(6, 4), distiller=distiller))
    first, last = engine.prompts["refine"][:4], engine.prompts["refine"][4:]
    assert len(set(first)) == 1
    assert len(last) == 1


def test_per_sample_gives_each_draft_the_pick_of_its_own_grading() -> None:
    out, engine = run(rf.PDR(widths=(8, 6), distiller="per_sample", k=2))
    assert len(set(engine.prompts["distill"][:6])) == 1  # the same drafts, graded anew
    picks = workspaces(engine)[:6]
    assert {len(pick) for pick in picks} == {2}
    assert len({tuple(pick) for pick in picks}) > 1
    assert out.run.repairs == []


def test_random_k_draws_for_each_draft_without_a_call() -> None:
    _, engine = run(rf.PDR(widths=(8, 6), distiller="random_k", k=3))
    picks = workspaces(engine)[:6]
    assert {len(set(pick)) for pick in picks} == {3}
    assert len({tuple(pick) for pick in picks}) > 1


def test_equal_seeds_draw_equally_and_others_do_not() -> None:
    def picks(**options: Any) -> list[list[str]]:
        return sorted(workspaces(run(rf.PDR(widths=(8, 6), distiller="random_k", **options))[1]))

    assert picks() == picks(seed=0)
    assert picks() != picks(seed=1)


def test_draws_are_uniform_ordered_and_leave_holes_out() -> None:
    drafts = ["a", None, "b", "c", "d"]
    sets = [drawn(drafts, 2, 0, 1, branch) for branch in range(3000)]
    assert all(pick == sorted(pick) and 1 not in pick for pick in sets)
    counts = Counter(map(tuple, sets))
    assert len(counts) == 6
    assert all(400 < count < 600 for count in counts.values())  # 500 expected, five standard deviations around
    assert drawn(["a", None], 3, 0, 1, 0) == [0]


def test_grades_pick_in_the_drafts_own_order() -> None:
    drafts = ["a", "b", None, "d"]
    assert best_numbers("4, 3, 1, 9", drafts) == [3, 0, 1]
    assert best_in_order("4, 3, 1, 9", drafts, 2) == [0, 3]
    assert best_in_order("none", drafts, 2) == [0, 1]


def test_a_grader_that_names_nothing_stands_in_the_record() -> None:
    with dspy.context(lm=rf.scripted(r"\boxed{x}")):
        out = rf.PDR(widths=(2,), distiller="per_sample")(problem="p")
    assert any("named no draft" in repair for repair in out.run.repairs)


def test_fields_of_the_signature_keep_their_names() -> None:
    program = rf.PDR("drafts, workspace -> answer", widths=(2,), distiller="per_sample")
    with dspy.context(lm=rf.scripted(r"\boxed{1}")):
        assert program(drafts="d", workspace="w").answer == "1"
    assert list(program.refine.signature.input_fields) == ["drafts", "workspace", "workspace_2"]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'per_sample'"):
        rf.PDR(distiller="per_samples")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="k=0"):
        rf.PDR(distiller="random_k", k=0)
    with pytest.raises(InputError, match="at least one round"):
        rf.PDR(widths=())
