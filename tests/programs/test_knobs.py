"""The knobs of the named programs: what each opens, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError, UnknownName
from reasonflow.gates.scores import TokenProbability
from reasonflow.optimizers.topology.search import TopologySearch
from reasonflow.optimizers.topology.space import choices_of, space_of, with_settings
from reasonflow.programs import PROGRAMS, find, searches


def answer(prompt: str, seed: int, index: int) -> str:
    return "1, 2" if "Judge how sound" in prompt else rf"notes \boxed{{{index}}}"


@pytest.mark.parametrize("name", [name for name in PROGRAMS if find(name).search_space and not searches(find(name))])
def test_whatever_a_program_offers_can_be_set(name: str) -> None:
    program = find(name).searched()
    space = space_of(program)
    assert {dimension.name for dimension in space.dimensions} == set(find(name).search_space)
    refused = 0
    for settings in TopologySearch(space).sample(40):
        chosen = with_settings(program, settings)
        assert {key: choice.value for key, choice in choices_of(chosen).items() if key in settings} == settings
        try:
            chosen.explain()
        except InputError:
            refused += 1
    assert refused < 20


def test_only_what_is_named_is_open() -> None:
    program = rf.PDR.searched(widths=(4, 2), search=("distiller",))
    assert [dimension.name for dimension in space_of(program).dimensions] == ["distiller"]
    assert program.widths == (4, 2)
    with pytest.raises(UnknownName, match="width"):
        rf.PDR.searched(search=("width",))


def test_a_choice_that_is_given_stays_as_it_is() -> None:
    space = space_of(rf.PDR.searched(temperature=rf.Range(0.7, 0.2, 1.2), search=("temperature",)))
    assert space.to_json() == {"temperature": {"low": 0.2, "high": 1.2, "log": False}}


@pytest.mark.parametrize("distiller", ["summary", "top_k", "per_sample", "random_k"])
def test_a_chosen_distiller_is_the_distiller(distiller: str) -> None:
    """An open one does what a fixed one does, call for call."""
    fixed, opened = rf.PDR(widths=(3, 2), distiller=distiller), rf.PDR.searched(widths=(3, 2))  # type: ignore[arg-type]
    chosen = with_settings(opened, {"distiller": distiller})
    with dspy.context(lm=rf.scripted(answer)):
        ours, theirs = chosen(problem="P").run, fixed(problem="P").run
    assert ours.usage.calls == theirs.usage.calls
    assert [re.sub("grade", "distill", span.node) for span in ours.spans] == [span.node for span in theirs.spans]


def test_the_length_of_notes_is_that_of_the_choice() -> None:
    program = rf.PDR(widths=(2,), workspace_tokens=rf.Choice(1024, options=[256, 1024]))
    short = with_settings(program, {"workspace_tokens": 256})
    assert program.explain().bound.total_tokens is None or short.explain().bound != program.explain().bound
    with dspy.context(lm=rf.scripted(answer)):
        nodes = {node.name: node.op for node in short.explain().plan.nodes}
    assert nodes["distill"].site.sampling.max_tokens == 256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: rf.PDR(distiller=rf.Choice("summary", options=["summary", "best"])), "best"),
        (lambda: rf.PDR(workspace_tokens=rf.Choice(256, options=[256, 0])), "workspace_tokens=0"),
        (lambda: rf.PDR(workspace_tokens=0), "workspace_tokens=0"),
        (lambda: rf.ThreadWeaver(threads=rf.Choice(2, options=[2, 0])), "threads=0"),
        (lambda: rf.ThreadWeaver(mode=rf.Choice("auto", options=["auto", "serial"])), "serial"),
        (lambda: rf.HybridSearch(retriever=lambda query: [], turns=rf.Range(1, 0, 4)), "turns=0"),
        (lambda: rf.AsyncScaling(gate=rf.Gate(TokenProbability()), turns=rf.Choice(1, options=[1, 0])), "turns=0"),
        (lambda: rf.RSA(n=4, k=rf.Choice(4, options=[2, 4]), rounds=0), "rounds=0"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(made: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made()


def test_candidates_are_read_once_each_at_most() -> None:
    program = rf.RSA.searched(search=("n", "k"))
    with pytest.raises(InputError, match="k=4 of n=2"):
        with_settings(program, {"n": 2, "k": 4}).explain()
    with_settings(program, {"n": 4, "k": 4}).explain()


def test_turns_and_temperature_of_a_search_are_knobs() -> None:
    program = rf.HybridSearch(retriever=lambda query: [], temperature=rf.Choice(0.2, options=[0.2, 0.8]))
    nodes = {node.name: node.op for node in program.explain().plan.nodes}
    assert nodes["search"].site.sampling.temperature == 0.2  # type: ignore[union-attr]
    assert space_of(rf.HybridSearch.searched(retriever=lambda query: [])).size == 5
