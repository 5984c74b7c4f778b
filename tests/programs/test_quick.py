"""Small steps that run where they stand."""

from __future__ import annotations

import json
import threading
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.language.program import trace
from reasonflow.plan.serialise import to_json
from reasonflow.programs.quick import quick


def whose_thread(text: str) -> tuple[str, int]:
    return text, threading.get_ident()


class Two(rf.Program):
    def plan(self, problem: Any) -> Any:
        return {"here": rf.call(quick(whose_thread), problem), "there": rf.call(whose_thread, problem)}


def test_a_quick_step_needs_no_thread_of_its_own() -> None:
    with dspy.context(lm=rf.scripted(r"\boxed{1}")):
        out = Two()(problem="p")
    assert out.here[0] == out.there[0] == "p"
    assert out.here[1] != out.there[1]


def test_it_is_called_and_compared_as_its_function() -> None:
    assert quick(whose_thread) == quick(whose_thread)
    assert quick(whose_thread) != quick(len)
    with dspy.context(lm=None):
        plan = trace(Two()).plan
    assert [node.name for node in plan.walk() if "thread" in node.name] == ["whose_thread", "whose_thread#2"]
    names = [node["fn"] for node in to_json(plan)["nodes"] if "fn" in node]
    assert len(names) == 2
    assert len(set(names)) == 1
    assert names[0].endswith("whose_thread"), json.dumps(names)
