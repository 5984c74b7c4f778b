"""Function-calling benchmarks end to end: rows of a file, a program over them, verdicts and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.benchmarks import load, names
from reasonflow.evals.calls.scores import figures, measure
from reasonflow.evals.dataset import Problem, digest, signature_of
from reasonflow.evals.files import FILES
from reasonflow.evals.judging import recorded_answer
from reasonflow.evals.runner import Evaluation, evaluate
from reasonflow.programs.chain_of_thought import ChainOfThought

FUNCTION = {
    "name": "music.play",
    "description": "Play an artist.",
    "parameters": {"type": "dict", "properties": {"artist": {"type": "string"}}, "required": ["artist"]},
}
CALLS: dict[str, Any] = {
    "id": "c1",
    "messages": [[{"role": "user", "content": "Play Ada Brin, and Corm."}]],
    "functions": [FUNCTION],
    "ground_truth": [{"music.play": {"artist": ["Ada Brin"]}}, {"music.play": {"artist": ["Corm", "The Corm"]}}],
}
TOOLS: dict[str, Any] = {
    "id": "t1",
    "question": "Which income has ZIP 98765?",
    "functions": [{"tool": "Income", "api": "ZIP code", "description": "By ZIP.", "required": [], "optional": []}],
    "relevant": [["Income", "ZIP code"]],
}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def run(program: dspy.Module, problems: list[Problem], lm: dspy.LM, **options: Any) -> Evaluation:
    return anyio.run(partial(evaluate, program, problems, lm=lm, **options))


def test_a_row_becomes_a_question_with_its_functions(tmp_path: Path) -> None:
    (problem,) = load("bfcl-parallel", data=lines(tmp_path / "rows.jsonl", CALLS))
    assert (problem.id, problem.kind, problem.output) == ("c1", "calls", "calls")
    assert problem.inputs["question"] == "Play Ada Brin, and Corm."
    assert json.loads(problem.inputs["functions"]) == [FUNCTION]
    signature: Any = signature_of(problem)
    assert (list(signature.input_fields), list(signature.output_fields)) == (["question", "functions"], ["calls"])
    assert '[{"name": "...", "arguments": {"...": ...}}]' in signature.instructions


def test_official_rows_and_several_messages_of_a_turn_are_read_too(tmp_path: Path) -> None:
    turn = [{"role": "system", "content": "Today is Monday."}, {"role": "user", "content": "Play Corm."}]
    row = {**{name: CALLS[name] for name in ("id", "ground_truth")}, "question": [turn], "function": [FUNCTION]}
    (problem,) = load("bfcl-multiple", data=lines(tmp_path / "rows.jsonl", row))
    assert problem.inputs["question"] == "Today is Monday.\n\nPlay Corm."


@pytest.mark.parametrize(
    ("benchmark", "row", "what"),
    [
        ("bfcl-parallel", {**CALLS, "ground_truth": []}, "'ground_truth'"),
        ("bfcl-parallel", {**CALLS, "ground_truth": [{"f": {"x": 3}}]}, "'ground_truth'"),
        ("bfcl-parallel", {**CALLS, "ground_truth": [{"f": {}, "g": {}}]}, "'ground_truth'"),
        ("bfcl-parallel", {**CALLS, "functions": "f(x)"}, "'functions'"),
        ("bfcl-parallel", {**CALLS, "messages": []}, "'messages'"),
        ("bfcl-parallel", {**CALLS, "messages": CALLS["messages"] * 2}, "'messages'"),
        ("bfcl-parallel", {**CALLS, "messages": [[{"content": None}]]}, "'messages'"),
        ("stabletoolbench", {**TOOLS, "relevant": []}, "'relevant'"),
        ("stabletoolbench", {**TOOLS, "relevant": [["Income"]]}, "'relevant'"),
        ("stabletoolbench", {name: TOOLS[name] for name in ("question", "functions")}, "'relevant'"),
    ],
)
def test_rows_of_another_form_are_named(benchmark: str, row: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"rows.jsonl:1: {what} is missing or of another form"):
        load(benchmark, data=lines(tmp_path / "rows.jsonl", row))


@pytest.mark.parametrize("name", FILES)
def test_without_a_file_they_say_what_to_give(name: str) -> None:
    assert name in names()
    with pytest.raises(InputError, match=r"(?s)is read from a file.*--data FILE"):
        load(name)


def test_a_program_is_graded_by_structure_with_figures_of_single_calls(tmp_path: Path) -> None:
    rows = [{**CALLS, "id": f"c{number}"} for number in range(3)]
    problems = load("bfcl-parallel", data=lines(tmp_path / "rows.jsonl", *rows))
    both = [{"name": "music.play", "arguments": {"artist": artist}} for artist in ("the corm", "Ada Brin")]
    says = iter([json.dumps(both), json.dumps(both[:1]), "music.play('Corm')"])

    def answers(prompt: str, seed: int | None, index: int) -> str:
        assert '"music.play"' in prompt
        return rf"Both are asked for. \boxed{{{next(says)}}}"

    program = ChainOfThought(signature_of(problems[0]))
    done = run(program, problems, rf.scripted(answers), concurrency=1)
    assert [sample.correct for sample in done.samples] == [True, False, False]
    assert [sample.reason[:24] for sample in done.samples] == ["", "1 calls instead of 2", "no JSON: Expecting value"]
    assert json.loads(done.samples[0].answer or "") == both
    found = figures(problems, done.samples, 0) or {}
    assert {name: round(each.value, 4) for name, each in found.items()} == {
        "precision": 0.6667,
        "recall": 0.5,
        "f1": round((1 + 2 / 3) / 3, 4),
    }


def test_tools_are_graded_as_a_set(tmp_path: Path) -> None:
    problems = load("stabletoolbench", data=lines(tmp_path / "rows.jsonl", TOOLS))
    program = ChainOfThought(signature_of(problems[0]))
    lm = rf.scripted(r'\boxed{[{"tool": "income", "api": "zip code"}, ["Maps", "Town"]]}')
    (sample,) = run(program, problems, lm).samples
    assert (sample.correct, sample.reason) == (False, "1 of 1 relevant tools among 2")
    assert measure(problems[0], sample.answer) == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3}
    assert measure(problems[0], None) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_parallelqa_is_graded_as_words(tmp_path: Path) -> None:
    row = {"id": "p1", "question": "Which is deeper?", "answers": ["Mariana Trench"], "branches": 2}
    (problem,) = load("parallelqa", data=lines(tmp_path / "rows.jsonl", row))
    assert (problem.kind, problem.output, signature_of(problem)) == ("text", "answer", "question -> answer")
    lm = rf.scripted(r"\boxed{the Mariana trench}")
    (sample,) = run(ChainOfThought("question -> answer"), [problem], lm).samples
    assert sample.correct
    assert figures([problem], [sample], 0) is None


def test_a_typed_output_is_recorded_as_json() -> None:
    assert recorded_answer(dspy.Prediction(calls=[{"f": {"x": "ä"}}]), "calls") == '[{"f": {"x": "ä"}}]'
    assert recorded_answer(dspy.Prediction(calls=True), "calls") == "True"
    assert recorded_answer(dspy.Prediction(answer="x"), "calls") is None


def test_what_the_program_is_told_is_part_of_the_digest(tmp_path: Path) -> None:
    (problem,) = load("bfcl-parallel", data=lines(tmp_path / "rows.jsonl", CALLS))
    assert digest([problem]) != digest([replace(problem, instructions="Call.")])
    assert digest([problem]) != digest([replace(problem, output="answer")])
