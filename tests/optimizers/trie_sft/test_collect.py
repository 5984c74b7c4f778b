"""What a model writes itself becomes rows; training reads those that are right and well formed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.optimizers.trie_sft.collect import collect

PLAN = "<think>\n<Parallel>\n<Outlines>\n<Outline>1: a</Outline>\n<Outline>2: b</Outline>\n</Outlines>"


def model(prompt: str, seed: int | None, index: int) -> str:
    """Right about one, wrong about two, malformed about three, without an answer about four."""
    number = next(digit for digit in "1234" if f"Problem {digit}" in prompt)
    if prompt.endswith("</Thread>\n"):
        end = "</Parallel>\n</think>\n" if number != "3" else "</think>\n"
        return end if number == "4" else f"{end}\\boxed{{{'9' if number == '2' else number}}}"
    return " 1 = 1</Thread>" if prompt.endswith(":") else PLAN


def trainset(count: int = 4) -> list[dspy.Example]:
    made = [{"problem": f"Problem {number}", "answer": str(number)} for number in range(1, count + 1)]
    return [dspy.Example(**each).with_inputs("problem") for each in made]


def right(example: dspy.Example, found: Any) -> bool:
    return bool(example.answer == found.answer)


def test_rows_say_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "own" / "rows.jsonl"
    with dspy.context(lm=rf.scripted(model)):
        found = collect(rf.ThreadWeaver(rescue=False), trainset(), right, file)
    assert (found.rows, found.correct, found.well_formed, found.kept) == (4, 2, 2, 1)
    rows = {row["example"]: row for row in map(json.loads, file.read_text().splitlines())}
    assert [(rows[n]["correct"], rows[n]["well_formed"]) for n in range(4)] == [
        (True, True), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert rows[0]["text"].startswith(PLAN)
    assert rows[0]["messages"][-1] == {"role": "user", "content": "Problem 1"}


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    file, asked = tmp_path / "rows.jsonl", list[str]()

    def listening(prompt: str, seed: int | None, index: int) -> str:
        asked.append(prompt)
        return model(prompt, seed, index)

    program = rf.ThreadWeaver(rescue=False)
    with dspy.context(lm=rf.scripted(listening)):
        collect(program, trainset(2), right, file)
        half = file.read_text()
        file.write_text(half + '{"example": 2, "sam')
        asked.clear()
        found = collect(program, trainset(3), right, file)
    assert file.read_text().startswith(half)
    assert found.rows == 3
    assert all("Problem 3" in prompt for prompt in asked)


def test_samples_of_one_example_are_different_runs(tmp_path: Path) -> None:
    seeds: set[int | None] = set()

    def listening(prompt: str, seed: int | None, index: int) -> str:
        seeds.add(seed)
        return model(prompt, seed, index)

    with dspy.context(lm=rf.scripted(listening)):
        found = collect(rf.ThreadWeaver(rescue=False), trainset(1), right, tmp_path / "rows.jsonl", samples=3)
    assert found.rows == 3
    assert len(seeds) == 3 * 4


@pytest.mark.parametrize("options", [{"mode": "autoregressive", "rescue": False}, {"rescue": True}])
def test_only_the_machines_own_trajectories(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="state machine alone"):
        collect(rf.ThreadWeaver(**options), trainset(1), right, tmp_path / "rows.jsonl")
