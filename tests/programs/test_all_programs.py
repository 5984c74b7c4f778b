"""What every program promises: any signature, any budget, cancelling, DSPy's optimizers, the command line."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.cli.options import build, options_of
from reasonflow.errors import BudgetExceeded
from reasonflow.programs import PROGRAMS, find

FOLDER = TemporaryDirectory()


def _corpus() -> str:
    """A file to search."""
    path = Path(FOLDER.name) / "pages.jsonl"
    path.write_text('{"id": "sums", "text": "1 and 1 are two."}\n', encoding="utf-8")
    return str(path)


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chain_of_thought": ("chain_of_thought", {}),
    "self_consistency": ("self_consistency", {"n": 3}),
    "best_of_n": ("best_of_n", {"n": 3}),
    "best_of_n by a rule": ("best_of_n", {"n": 3, "verifier": lambda inputs, candidate: len(candidate.text)}),
    "confident_vote": ("confident_vote", {"n": 4, "warm_up": 2, "window": 4}),
    "confident_vote without stopping": ("confident_vote", {"n": 4, "warm_up": 2, "stop": False}),
    "confident_vote of the warm-up": ("confident_vote", {"n": 2, "warm_up": 2, "voters": "whole"}),
    "pdr": ("pdr", {"widths": (3, 2)}),
    "pdr top_k": ("pdr", {"widths": (3, 2), "distiller": "top_k"}),
    "pdr per_sample": ("pdr", {"widths": (3, 2), "distiller": "per_sample"}),
    "pdr random_k": ("pdr", {"widths": (3, 2), "distiller": "random_k"}),
    "rsa": ("rsa", {"n": 3, "k": 2, "rounds": 2}),
    "rsa k=1": ("rsa", {"n": 3, "k": 1, "rounds": 2}),
    "sequential_refine": ("sequential_refine", {"rounds": 2}),
    "sequential_refine analyse": ("sequential_refine", {"rounds": 2, "analyse": True}),
    "hybrid_search": ("hybrid_search", {"retriever": _corpus(), "turns": 2}),
    "planned_search": ("planned_search", {"retriever": _corpus(), "steps": 2}),
    "threads": ("threads", {"threads": 2}),
    "threads prompted": ("threads", {"threads": 2, "prompted": True}),
}
FEWER = ("hybrid_search", "planned_search", "threads", "threads prompted")
"""They make as many calls as the model plans."""
FIRST_ANSWER = {"planned_search": 3}
"""Calls until there is something that a budget may leave; of the others the first one brings it."""


def make(variant: str, signature: Any = "problem -> answer", **more: Any) -> Any:
    name, options = VARIANTS[variant]
    return find(name)(signature, **options, **more)


def script(prompt: str, seed: int | None, index: int) -> Any:
    if "Yes or No" in prompt:
        return {"Yes": 0.3, "No": 0.6}
    if "name the best" in prompt:
        return "2, 1"
    return r"One and one. \boxed{2}"


def test_every_program_is_among_the_variants() -> None:
    assert {name for name, _ in VARIANTS.values()} == set(PROGRAMS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_run_exceeds_its_bound_and_all_are_explained(variant: str) -> None:
    program = make(variant)
    with dspy.context(lm=rf.scripted(script)):
        bound = program.explain().bound
        out = program(problem="1 + 1?")
    assert out.answer == "2"
    assert out.run.complete
    assert out.run.usage.calls <= bound.calls
    assert (out.run.usage.calls < bound.calls) == (variant in FEWER)
    assert out.run.failures == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_budget_is_exceeded(variant: str) -> None:
    program = make(variant)
    with dspy.context(lm=rf.scripted(script)):
        whole = program(problem="1 + 1?").run.usage
        for calls in range(FIRST_ANSWER.get(variant, 1), whole.calls + 1):
            program.budget = rf.Budget(calls=calls)
            out = program(problem="1 + 1?")
            assert out.answer == "2"
            assert out.run.usage.calls <= calls
            assert out.run.complete or out.run.cut
        for total in (whole.total_tokens // 8, whole.total_tokens // 2, whole.total_tokens):
            program.budget = rf.Budget(total=total)
            try:
                used = program(problem="1 + 1?").run.usage
            except BudgetExceeded as error:  # not even the first answer has room
                used = error.run.usage if getattr(error, "run", None) is not None else None
            assert used is None or used.total_tokens <= total


@pytest.mark.parametrize("variant", VARIANTS)
def test_cancelled_midway_it_leaves_the_engine(variant: str) -> None:
    lm = rf.scripted(script, latency=0.02)
    program = make(variant)
    backend = lm.engine.runtime.backend

    async def cancelled(after_s: float) -> None:
        with anyio.move_on_after(after_s):
            await program.acall(problem="1 + 1?")

    with dspy.context(lm=lm):
        for after_s in (0.01, 0.03, 0.05):
            asyncio.run(cancelled(after_s))
            assert backend.running() == 0
        assert program(problem="1 + 1?").answer == "2"


@pytest.mark.parametrize("variant", VARIANTS)
def test_dspys_bootstrapping_teaches_it(variant: str) -> None:
    trainset = [dspy.Example(problem=f"{number} + 1?", answer="2").with_inputs("problem") for number in range(3)]

    def metric(example: Any, out: Any, trace: Any = None) -> bool:
        return bool(out.answer == example.answer)

    with dspy.context(lm=rf.scripted(script)):
        taught = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=2).compile(
            make(variant), trainset=trainset
        )
        assert taught(problem="new?").answer == "2"
    if variant in FEWER:  # the calls of `Continue` answer no signature
        return
    for name, predictor in taught.named_predictors():
        assert any(demo.get("augmented") for demo in predictor.demos), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_signature_will_do(variant: str) -> None:
    def fields(prompt: str, seed: int | None, index: int) -> Any:
        found = script(prompt, seed, index)
        if "boxed" not in str(found) or "Write notes" in prompt or "List its flaws" in prompt:
            return found
        return "[[ ## steps ## ]]\n['one']\n\n[[ ## size ## ]]\n2\n\n[[ ## completed ## ]]"

    signature = dspy.Signature("problem: str, hints: list[str], drafts: str -> steps: list[str], size: int")
    with dspy.context(lm=rf.scripted(fields)):
        out = make(variant, signature)(problem="How many?", hints=["few", "small"], drafts="none")
    assert (out.steps, out.size) == (["one"], 2)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if "rule" not in variant])
def test_state_is_saved_and_loaded(variant: str, tmp_path: Any) -> None:
    program, fresh = make(variant), make(variant)
    for _, predictor in program.named_predictors():
        predictor.demos = [dspy.Example(problem="1?", answer="1")]
    program.save(tmp_path / "program.json")
    fresh.load(tmp_path / "program.json")
    assert fresh.dump_state() == program.dump_state()


@pytest.mark.parametrize("variant", VARIANTS)
def test_config_reaches_the_samples(variant: str) -> None:
    program = make(variant, config={"max_tokens": 33})
    with dspy.context(lm=rf.scripted(script)):
        out = program(problem="1 + 1?")
    first = out.run.spans[0]
    assert first.max_tokens == 33


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_module_is_one_page_with_its_source(name: str) -> None:
    program = find(name)
    module = importlib.import_module(f"reasonflow.programs.{name}")
    assert module.__doc__
    assert program.__doc__
    assert program.__name__ == PROGRAMS[name]


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("best_of_n", ["n=3"], {"n": 3}),
        ("pdr", ["widths=4,2", "distiller=per_sample", "k=1"], {"widths": (4, 2), "distiller": "per_sample", "k": 1}),
        ("pdr", ["distiller=random_k", "seed=5"], {"distiller": "random_k", "seed": 5}),
        ("rsa", ["n=5", "k=2", "rounds=4"], {"n": 5, "k": 2, "rounds": 4}),
        ("sequential_refine", ["analyse=yes"], {"analysing": True}),
    ],
)
def test_the_command_line_spells_its_options(name: str, settings: list[str], expected: dict[str, Any]) -> None:
    program: Any = build(name, "problem -> answer", settings)
    for attribute, value in expected.items():
        assert getattr(program, attribute) == value


def test_what_no_word_can_mean_is_left_to_the_library() -> None:
    assert set(options_of(rf.BestOfN)) == {"n", "solution_tokens", "temperature", "layout"}
