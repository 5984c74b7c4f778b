"""What a program says for its call sites: temperature, layout and roles, as values and as knobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.language.program import trace
from reasonflow.optimizers.topology.space import space_of, with_settings
from reasonflow.plan.nodes import Generate


class Two(rf.Program):
    """A draft, and a check of it at a temperature of its own."""

    def __init__(self, temperature: Any = None, layout: Any = "auto") -> None:
        self.draft = rf.Generate("problem -> answer")
        self.check = rf.Generate("problem, proposal -> answer", temperature=0.1)
        self.temperature, self.layout = temperature, layout

    def plan(self, problem: Any) -> Any:
        return rf.answer(self.check(problem=problem, proposal=self.draft(problem=problem).answer))


class Outer(rf.Program):
    """A program around another one."""

    def __init__(self, temperature: Any = None, inner: Any = None) -> None:
        self.inner = Two(inner)
        self.temperature = temperature

    def plan(self, problem: Any) -> Any:
        return rf.answer(self.inner(problem=problem))


def says(text: str) -> dspy.LM:
    return rf.scripted(lambda prompt, seed, index: rf"\boxed{{{text}}}", temperature=0.9)


def temperatures(program: rf.Program) -> list[float | None]:
    with dspy.context(lm=says("1")):
        nodes = trace(program).plan.nodes
    return [node.op.site.sampling.temperature for node in nodes if isinstance(node.op, Generate)]


@pytest.mark.parametrize(
    ("program", "found"),
    [
        (Two(), [0.9, 0.1]),
        (Two(0.5), [0.5, 0.1]),
        (Two(0.0), [0.0, 0.1]),
        (Two(rf.Range(0.3, 0.0, 1.2)), [0.3, 0.1]),
        (Outer(0.5), [0.5, 0.1]),
        (Outer(0.5, 0.7), [0.7, 0.1]),
        (Outer(0.5, rf.Choice(None, options=[None, 0.7])), [0.5, 0.1]),
    ],
)
def test_a_temperature_comes_behind_the_sites_own_and_before_the_models(
    program: rf.Program, found: list[float | None]
) -> None:
    assert temperatures(program) == found


@pytest.mark.parametrize("value", [-0.1, "hot", True, rf.Choice(0.5, options=[0.5, -1]), rf.Range(0.5, -1.0, 1.0)])
def test_bad_temperatures_are_refused_before_anything_runs(value: Any) -> None:
    with pytest.raises(InputError, match="temperature of Two"):
        Two(value).explain()


def test_any_option_of_a_layout_is_looked_at() -> None:
    with pytest.raises(UnknownName, match="sideways"):
        Two(layout=rf.Choice("auto", options=["auto", "sideways"])).explain()


def test_they_are_searched_as_any_choice() -> None:
    program = Two(rf.Choice(0.5, options=[0.5, 1.0]), rf.Choice("shared", options=["shared", "dspy"]))
    assert space_of(program).size == 4
    hot = with_settings(program, {"temperature": 1.0, "layout": "dspy"})
    assert temperatures(hot) == [1.0, 0.1]
    assert temperatures(program) == [0.5, 0.1]


def test_sites_run_on_the_model_of_their_role() -> None:
    program = Two()
    program.models = {"small": says("2"), "large": says("3")}
    program.roles = {"check": rf.Choice("small", options=["small", "large"])}
    with dspy.context(lm=says("1")):
        assert program(problem="?").answer == "2"
        assert with_settings(program, {"roles['check']": "large"})(problem="?").answer == "3"
    assert program.model_of(program.check).model == program.models["small"].model


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"chek": "small"}, "chek"),
        ({"check": "tiny"}, "tiny"),
        ({"check": rf.Choice("small", options=["small", "tiny"])}, "tiny"),
    ],
)
def test_roles_that_nothing_plays_are_refused(roles: Any, said: str) -> None:
    program = Two()
    program.models, program.roles = {"small": says("2")}, roles
    with pytest.raises(UnknownName, match=said):
        program.explain()


def test_roles_without_models_say_what_is_missing() -> None:
    program = Two()
    program.roles = {"check": "small"}
    with pytest.raises(InputError, match="no language model called 'small'"):
        program.explain()


def test_artifacts_keep_knobs_and_their_options(tmp_path: Path) -> None:
    program = rf.PDR(widths=(2,), distiller=rf.Choice("summary", options=["summary", "top_k"]))
    program.temperature = rf.Choice(None, options=[None, 0.5])
    program.layout = rf.Choice("auto", options=["auto", "dspy"])
    program.roles = {"distill": rf.Choice("small", options=["small", "large"])}
    for name, value in (("temperature", 0.5), ("layout", "dspy"), ("distiller", "top_k")):
        getattr(program, name).set(value)
    program.roles["distill"].set("large")  # type: ignore[union-attr]
    program.save(tmp_path / "it.json")
    back = rf.load(tmp_path / "it.json")
    assert (back.temperature, back.layout, back.distiller) == (0.5, "dspy", "top_k")  # type: ignore[attr-defined]
    assert back.roles["distill"] == "large"
    assert space_of(back) == space_of(program)
    with pytest.raises(InputError, match="no language model called 'large'"):
        back.explain()
    back.models = {"small": says("2"), "large": says("3")}
    back.explain()


def test_plain_settings_stand_in_artifacts_too(tmp_path: Path) -> None:
    program = rf.SelfConsistency(n=2, temperature=0.5)
    program.save(tmp_path / "it.json")
    assert rf.load(tmp_path / "it.json").temperature == 0.5
    program.temperature = None
    program.save(tmp_path / "it.json")
    assert rf.load(tmp_path / "it.json").temperature is None
