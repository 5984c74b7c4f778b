"""Artifacts of programs made with tools and with language models of their own: both are named, and given again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.gates.scores import TokenProbability

HERE = __name__


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    return a * b


def planner(**more: Any) -> rf.SpeculativePlanner:
    return rf.SpeculativePlanner(gate=rf.Gate(TokenProbability(), 0.5), **{"tools": [add], **more})


def test_tools_are_kept_by_name_and_given_again(tmp_path: Path) -> None:
    path = tmp_path / "planner.json"
    made = planner(tools=[add, dspy.Tool(multiply, name="times", desc="Multiplies them.")], actions=["add"])
    made.save(path)
    saved = json.loads(path.read_text())["reasonflow"]["arguments"]["tools"]
    assert saved[0] == {"$function": f"{HERE}:add"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back: Any = rf.load(path, allow=[add, multiply])
        named: Any = rf.load(path, allow=[f"{HERE}:add", f"{HERE}:multiply"])
    for loaded in (back, named):
        assert set(loaded.agent.tools) == set(made.agent.tools) == {"add", "times", "finish"}
        assert "Multiplies them." in loaded.agent.react.signature.instructions
        assert loaded.gate.threshold == 0.5


@pytest.mark.parametrize("path", ["os:system", "subprocess:run", "reasonflow.programs.quick:quick"])
def test_no_function_is_handed_over_that_was_not_allowed(path: str, tmp_path: Path) -> None:
    planner().save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text().replace(f"{HERE}:add", path)
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match=f"the function {path}, which is not allowed"):
        rf.load(tmp_path / "p.json", allow=[add])


def test_what_is_allowed_must_be_a_function(tmp_path: Path) -> None:
    planner().save(tmp_path / "p.json")
    for path in ("os:environ", "json:JSONDecoder", f"{HERE}:nothing"):
        text = (tmp_path / "p.json").read_text().replace(f"{HERE}:add", path)
        (tmp_path / "q.json").write_text(text)
        with pytest.raises(InputError, match=r"is no function|there is no function"):
            rf.load(tmp_path / "q.json", allow=[path])


def test_a_function_without_a_name_of_its_own_is_refused(tmp_path: Path) -> None:
    def inner(a: int) -> int:
        return a

    for tool in (inner, lambda a: a, dspy.Tool(add, args={"a": {"type": "string"}})):
        with pytest.raises(InputError, match="cannot be saved"):
            planner(tools=[tool]).save(tmp_path / "p.json")


def test_language_models_of_its_own_are_found_by_their_names(tmp_path: Path) -> None:
    path, small, large = tmp_path / "p.json", rf.scripted("1", model="tiny"), rf.scripted("2", model="big")
    made = planner(small=small, large=large)
    made.small.demos = [dspy.Example(problem="1 + 1", answer="2")]
    made.save(path)
    with pytest.raises(InputError, match="was made with the language model big, which is not given"):
        rf.load(path, allow=[add], lms=[small])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back: Any = rf.load(path, allow=[add], lms=[large, small])
    assert back.small.lm is small
    assert [site.lm for site in (back.judge, *back.agent.predictors())] == [large] * 3
    assert back.small.demos[0]["answer"] == "2"
