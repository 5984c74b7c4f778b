"""The family as a benchmark: addresses, splits, options, and the same problems in every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.benchmarks import load, names
from reasonflow.evals.grading import Grader
from reasonflow.evals.tasks.constraints import System, shape_of_system
from reasonflow.evals.tasks.graph import Graph, check
from reasonflow.evals.tasks.knobs import MIXES, ConstraintKnobs, Knobs, mix_named
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.evals.tasks.lookups import decomposed
from reasonflow.evals.tasks.problems import Item, item, item_at, parse_source, stream
from reasonflow.evals.tasks.shape import shape_of
from reasonflow.evals.tasks.splits import DEEPEST, WIDEST, split_of
from reasonflow.evals.tasks.wording import TEMPLATES, templates

GOLDEN = "70ae87955080dfa6"
GOLDEN_SEARCH = "67adb95f56fcc100"
GOLDEN_TOOLS = "d2e02c82449280b1"


def fingerprint(mixes: Iterable[str]) -> str:
    """Over problems and solutions."""
    hashed = hashlib.sha256()
    for mix in mixes:
        for found, index in zip(stream(parse_source(f"graphmath:{mix},seed=7")), range(3), strict=False):
            looked = "".join(f"|{each.query}" for each in decomposed(found.lookups))
            hashed.update(f"{found.address}|{found.text}|{found.solution(Random(index))}{looked}\n".encode())
    return hashed.hexdigest()[:16]


def test_problems_are_the_same_in_every_process() -> None:
    # A changed value here makes every recorded result one of other problems: say so in the changelog.
    assert fingerprint(mix for mix in MIXES if mix not in ("search", "tools")) == GOLDEN
    assert fingerprint(["search"]) == GOLDEN_SEARCH
    assert fingerprint(["tools"]) == GOLDEN_TOOLS


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_pythons_hash_seed_does_not_matter(hash_seed: str) -> None:
    script = (
        "from reasonflow.evals.tasks.problems import item_at; "
        "print(item_at('graphmath:hard,split=train,seed=5,index=9').text)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == item_at("graphmath:hard,split=train,seed=5,index=9").text


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_gives_graded_problems(mix: str) -> None:
    problems = load(f"graphmath:{mix}", limit=6)
    assert len({problem.id for problem in problems}) == len({p.inputs["problem"] for p in problems}) == 6
    with Grader() as grader:
        for problem in problems:
            found = item_at(problem.grading["address"])
            assert (found.text, str(found.answer)) == (problem.inputs["problem"], problem.answer)
            assert grader.grade(problem, problem.answer).correct
            assert not grader.grade(problem, str(found.answer + 1)).correct
            assert grader.grade(problem, found.solution(Random(0)).rpartition("{")[2].rstrip("}")).correct


@pytest.mark.parametrize("mix", MIXES)
def test_answers_of_a_mix_are_spread(mix: str) -> None:
    source = parse_source(f"graphmath:{mix}" + (",split=train" if mix != "extrapolation" else ""))
    answers = Counter(item(source, index).answer for index in range(400))
    assert len(answers) > 290  # of 400 even draws out of 1,000 values about 330 differ
    assert max(answers.values()) <= 8
    assert min(answers) < 50
    assert max(answers) > 950


def sentences_of(found: Item) -> list[tuple[str, str, bool]]:
    """(template, name, held out) of every sentence that the text has, by trying all templates."""
    content = found.content
    lines: list[tuple[str, tuple[object, ...]]] = [("asked", (content.asked,))]
    if isinstance(content, Graph):
        houses = {lookup.name: lookup.house for lookup in found.lookups}
        for quantity in content.quantities:
            second = quantity.operands[-1]
            kind = f"{quantity.sign} {'number' if isinstance(second, int) else 'name'}" if quantity.sign else "given"
            if quantity.name in houses:
                lines.append(("elsewhere", (quantity.name, houses[quantity.name])))
            else:
                lines.append((kind, (quantity.name, *quantity.operands)))
    else:
        lines += [(c.kind, (*c.names, *c.numbers)) for c in content.constraints]
    used = []
    for kind, words in lines:
        (template,) = [template for template in TEMPLATES[kind] if template.format(*words) in found.text]
        used.append((template, str(words[0]), template in templates(kind, str(words[0]), True)))
    return used


@pytest.mark.parametrize("mix", [mix for mix in MIXES if mix != "extrapolation"])
def test_train_and_test_share_no_shape_and_no_template_with_a_name(mix: str) -> None:
    shapes: dict[str, set[int]] = {}
    pairs: dict[str, set[tuple[str, str]]] = {}
    for split in ("train", "test"):
        source = parse_source(f"graphmath:{mix},split={split}")
        for index in range(60):
            found = item(source, index)
            content = found.content
            shape = shape_of_system(content) if isinstance(content, System) else shape_of(content)
            shapes.setdefault(split, set()).add(shape.hash)
            used = sentences_of(found)
            assert {held for *_, held in used} == {split == "test"}
            pairs.setdefault(split, set()).update((template, name) for template, name, _ in used)
    assert not shapes["train"] & shapes["test"]
    assert not pairs["train"] & pairs["test"]


def test_the_extrapolation_split_is_larger_and_worded_as_in_training() -> None:
    sizes = []
    for index in range(30):
        found = item(parse_source("graphmath:extrapolation"), index)
        assert isinstance(found.content, Graph)
        shape = shape_of(check(found.content))
        assert split_of(shape) == "extrapolation"
        assert not any(held for *_, held in sentences_of(found))
        sizes.append((shape.width > WIDEST, shape.depth > DEEPEST))
    assert {True, False} == {wide for wide, _ in sizes} == {deep for _, deep in sizes}


def test_every_name_has_sentences_in_both_splits() -> None:
    for kind, every in TEMPLATES.items():
        for lexicon in LEXICONS.values():
            for name in lexicon.names:
                held, rest = templates(kind, name, True), templates(kind, name, False)
                assert len(held) == 1
                assert sorted([*held, *rest]) == sorted(every)


def test_names_are_two_words_and_no_two_lexicons_share_one() -> None:
    every = [name for lexicon in LEXICONS.values() for name in lexicon.names]
    assert len(every) == len(set(every))
    assert all(len(name.split()) == 2 for name in every)


def test_options_and_seeds() -> None:
    source = parse_source("graphmath:breadth,width=8,depth=2..3,seed=4,split=train,lexicon=harbour,shuffle=false")
    assert (source.seed, source.split, source.label) == (
        *(4, "train"),
        "graphmath:breadth,depth=2..3,lexicon=harbour,shuffle=false,width=8",
    )
    assert source.mix == (Knobs(width=(8, 8), depth=(2, 3), distractors=(6, 8), lexicon="harbour", shuffle=False),)
    assert parse_source("graphmath").mix == mix_named("mid")
    assert parse_source("graphmath:constraints,unknowns=3").mix == (ConstraintKnobs(unknowns=(3, 3)),)
    assert parse_source("graphmath:mid,branching=0.5").mix[0].branching == 0.5  # type: ignore[union-attr]
    assert load("graphmath", limit=2, seed=3) == load("graphmath,seed=3", limit=2) != load("graphmath", limit=2)
    assert load("graphmath", limit=6)[:2] == load("graphmath", limit=2)
    assert "graphmath:mid" in names()


def test_unshuffled_sentences_stand_in_the_order_of_the_graph() -> None:
    found = item(parse_source("graphmath:mid,shuffle=false"), 0)
    assert isinstance(found.content, Graph)
    places = [found.text.index(quantity.name) for quantity in found.content.quantities if not quantity.sign]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("graphmath:middle", UnknownName, "did you mean 'mid'"),
        ("graphmath:mid,widht=3", UnknownName, "did you mean 'width'"),
        ("graphmath:constraints,width=3", UnknownName, "unknown option"),
        ("graphmath:mid,width", InputError, "option=value"),
        ("graphmath:mid,width=many", InputError, "no whole number"),
        ("graphmath:mid,width=5..3", InputError, "no span"),
        ("graphmath:mid,width=0", InputError, "no span"),
        ("graphmath:mid,missing=3..2", InputError, "no span"),
        ("graphmath:search,hops=0..2", InputError, "no span"),
        ("graphmath:mid,largest=5000", InputError, "outside of 9 to 999"),
        ("graphmath:mid,sharing=2", InputError, "no share"),
        ("graphmath:mid,sharing=x", InputError, "no number"),
        ("graphmath:mid,shuffle=maybe", InputError, "neither true nor false"),
        ("graphmath:mid,lexicon=latin", UnknownName, "unknown lexicon"),
        ("graphmath:mid,split=dev", UnknownName, "unknown split"),
        ("graphmath:mid,width=20,words=8", InputError, "more names"),
        ("graphmath:mid,split=extrapolation", InputError, "no problem in the split"),
        ("graphmath:extrapolation,split=train", InputError, "no problem in the split"),
        ("graphmath:mid,index=3", InputError, "names one problem"),
        ("graphmaths", UnknownName, "did you mean 'graphmath:mid'"),
    ],
)
def test_what_makes_no_problem_is_refused(name: str, error: type[InputError], says: str) -> None:
    with pytest.raises(error, match=says):
        load(name, limit=1)


def test_an_address_needs_an_index() -> None:
    with pytest.raises(InputError, match="row of problems"):
        item_at("graphmath:mid")
    with pytest.raises(InputError, match="no benchmark of the family"):
        item_at("rg:gcd,index=0")
