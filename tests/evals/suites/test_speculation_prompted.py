"""The suite `speculation-prompted` on models that play their roles, over given problems."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import anyio
import dspy
import pytest
from rich.console import Console

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals import manifest
from reasonflow.evals.suites import find, prompted_gate, prompted_planner, prompted_scaling, waits
from reasonflow.evals.suites.calculator import calculate
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting

COUNT = 120
SUITE = find("speculation-prompted")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every wait, in place of waiting; few splits and a promise that few samples can keep."""
    found: list[float] = []
    monkeypatch.setattr(waits, "sleep", found.append)
    monkeypatch.setattr(manifest, "state_of", lambda program: "")  # a scripted engine's answers have no JSON form
    monkeypatch.setattr(prompted_gate, "SPLITS", 20)
    monkeypatch.setattr(prompted_scaling, "MOST", 5)
    monkeypatch.setattr(prompted_scaling, "N", 3)
    monkeypatch.setattr(prompted_planner, "AT_LOW_LOAD", 3)
    monkeypatch.setattr(prompted_planner, "MOST", {"tools": 12, "reasoning": 30})
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"question": f"Bag {n} holds {n} and {n + 1}?", "answer": str(2 * n + 1)} for n in range(100, 100 + COUNT)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answer_to(prompt: str) -> int:
    return 2 * int(re.findall(r"Bag (\d+) holds", prompt)[-1]) + 1


def top(token: str, chance: float) -> dict[str, float]:
    """A token that is that sure, among twenty."""
    return {token: chance, **{f"<{place}>": (1 - chance) / (20 + place) for place in range(19)}}


def small(prompt: str, seed: int | None, index: int) -> Any:
    """Hardly ever right at once; with steps wrong, and unsure of the answer, for one problem of four."""
    answer = answer_to(prompt)
    if "just the final answer" in prompt:
        return (top(str(answer + (answer % 11 > 0)), 0.9),)
    hard = Random(answer).random() < 0.25
    wrong = hard and (seed is None or Random(f"{answer}/{seed}/{index}").random() < 0.6)
    if prompted_scaling.INSTRUCTION in prompt:
        return rf" so it is \boxed{{{answer + hard}}}"
    steps = tuple(top(word, 0.4 if hard else 0.5) for word in (" so", " we", " add"))
    return (*steps, " \\boxed{", top(str(answer + wrong * (1 + (seed or 0) % 5)), 0.6 if hard else 0.99), "}")


def large(prompt: str, seed: int | None, index: int) -> Any:
    """Lets even numbers through, and never errs."""
    answer = answer_to(prompt)
    if "without any tool" in prompt:
        return {"Yes": 0.9, "No": 0.1} if answer % 4 == 1 else {"Yes": 0.2, "No": 0.8}
    if "[[ ## next_tool_name ## ]]" in prompt:
        first = (answer - 1) // 2
        name, arguments = ("finish", {}) if "observation_0" in prompt else (
            "calculate", {"expression": f"{first} + {first + 1}"},
        )  # fmt: skip
        return (
            f"[[ ## next_thought ## ]]\nNext.\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
            f"[[ ## next_tool_args ## ]]\n{json.dumps(arguments)}\n\n[[ ## completed ## ]]"
        )
    if prompted_scaling.INSTRUCTION in prompt:
        return rf" we add \boxed{{{answer}}}"
    if "observation_0" in prompt:
        return f"[[ ## reasoning ## ]]\nIt says so.\n\n[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"
    return rf"Together \boxed{{{answer}}}"


def never(prompt: str, seed: int | None, index: int) -> Any:
    raise AssertionError("all of it is there")


def made(out: Path, data: Path, scripts: Any = (small, large), *, parts: tuple[str, ...] = (), **more: Any) -> Findings:
    by_name = {"s": scripts[0], "m": scripts[1]}

    def opened(name: str) -> dspy.LM:
        return rf.scripted(by_name[name], model=name, top_logprobs=20, window=16_384)

    options = {"open": opened, "model": "m", "small": "s", "limit": COUNT, "seed": 0, "data": data, "concurrency": 4}
    setting = Setting(out=out, console=Console(file=StringIO()), parts=parts, **{**options, **more})
    return anyio.run(SUITE.make, setting)


def test_all_figures_are_there_and_it_goes_on_where_it_was_stopped(
    data: Path, tmp_path: Path, quick: list[float]
) -> None:
    out = tmp_path / "out"
    gate = made(out, data, parts=("gate",))
    assert not (out / "planner").exists()
    found = made(out, data)
    figures = found.figures
    assert gate.figures.items() <= figures.items()
    assert figures["prompted_small_direct_accuracy"] < 0.2  # type: ignore[operator]
    assert 0.6 < figures["prompted_small_reasoned_accuracy"] < 0.95  # type: ignore[operator]
    assert figures["prompted_voted_vote_share_acceptance_30"] > 0.5  # type: ignore[operator]
    for kind in ("tools", "reasoning"):
        assert figures[f"prompted_{kind}_agent_accuracy"] == 1.0
        assert 0 < figures[f"prompted_{kind}_judged_beta"] < 1  # type: ignore[operator]
        assert figures[f"prompted_{kind}_unjudged_beta"] == 1.0
        for arm in ("judged", "unjudged"):
            measured, law = figures[f"prompted_{kind}_{arm}_latency"], figures[f"prompted_{kind}_{arm}_law_latency"]
            ratio = figures[f"prompted_{kind}_{arm}_law_over_measured"]
            assert ratio == pytest.approx(law / measured)  # type: ignore[operator]
    assert figures["prompted_unjudged_gate_alpha"] in prompted_gate.ALPHAS
    assert figures["prompted_tools_unjudged_alpha"] > 0  # type: ignore[operator]
    assert figures["prompted_sampling_coverage"] == 1.0
    assert figures["prompted_acceptance"] == 1.0  # all chunks of the scripted target score alike
    assert figures["prompted_scaling_minus_sampling_majority"] == figures["prompted_scaling_majority"] - 1.0  # type: ignore[operator]
    assert figures["prompted_draft_tokens"] > 0  # type: ignore[operator]
    assert quick
    assert {goal["figure"] for goal in found.to_json()["goals"]} <= set(figures)
    assert made(out, data, (never, never)).to_json() == found.to_json()
    written = json.loads((out / "results.json").read_text())
    assert (written["small"], written["model"]) == ("s", "m")


def test_a_planner_that_trusts_nothing_still_has_its_figures(data: Path, tmp_path: Path) -> None:
    def wrong(prompt: str, seed: int | None, index: int) -> Any:
        return (" \\boxed{", top(str(answer_to(prompt) + 1), 0.9), "}")

    figures = made(tmp_path / "out", data, (wrong, large), parts=("planner",)).figures
    assert figures["prompted_unjudged_gate_alpha"] is None
    assert figures["prompted_tools_unjudged_alpha"] == 0.0
    assert figures["prompted_tools_unjudged_minus_agent"] == 0.0
    assert figures["prompted_tools_unjudged_law_over_measured"] is not None


def test_two_equal_models_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are both 'm'"):
        made(tmp_path / "out", data, small="m")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3*4", "14"),
        ("$1,200 / 4", "300"),
        ("20% * 50", "10"),
        ("-(1.5 + 2) × 2", "-7"),
        ("= 3 - 1", "2"),
        ("7 // 2", "3"),
    ],
)
def test_the_calculator_reads_what_models_write(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "2 ** 9", "1e300 * 1e300", "x + 1", "(" * 300, "1 +", "'a' * 3"]
)
def test_the_calculator_runs_nothing(expression: str) -> None:
    with pytest.raises(ValueError, match=r"expression|allowed|large"):
        calculate(expression)
