"""A recipe carried out on a toy curriculum: it learns, writes drafts, stops, goes on, exports."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.errors import InputError, UnknownName  # noqa: E402
from reasonflow.optimizers.training.recipe import Draft, Recipe, Train  # noqa: E402
from reasonflow.optimizers.training.run import Training  # noqa: E402
from reasonflow.optimizers.training.shape import Shape  # noqa: E402
from tests.optimizers.training.counting import COUNTING, rows  # noqa: E402

HERE = "tests.optimizers.training.counting"
RECIPE = Recipe(
    model=Shape(layers=2, hidden=64, heads=1, kv_heads=1, ffn=128, vocabulary=16),
    curriculum=f"{HERE}:COUNTING",
    stages=(Train("count", 20_000), Draft("drafts-1", 5), Train("count-on", 8_000, drafts="drafts-1")),
    lr=3e-3,
    warmup=1_000,
    rows=2,
    width=128,
    longest=24,
)


def training(out: Path, recipe: Recipe = RECIPE, **options: Any) -> Training:
    return Training(recipe, out, **{"say": lambda text: None, **options})


def test_a_recipe_teaches_and_its_export_counts(tmp_path: Path) -> None:
    said: list[str] = []
    run = training(tmp_path, say=said.append)
    assert run.run()
    report = json.loads((tmp_path / "report.json").read_text())
    losses = [entry["loss"] for entry in report["log"]]
    assert losses[0] > 1.5
    assert losses[-1] < 0.5
    assert report["tokens"] >= RECIPE.tokens
    assert list(report["minutes"]) == ["0 count", "1 drafts-1", "2 count-on"]
    assert any("drafts-1" in line for line in said)

    drafts = rows(tmp_path / "drafts-1")
    assert len({row["address"] for row in drafts}) == len(drafts) == 5
    assert all(len(row["drafts"]) == 3 for row in drafts)
    assert report["drafts"]["drafts-1"]["right"] > 0.6

    run.export(tmp_path / "model")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ((question, _),) = COUNTING.questions("any", 0, 1)
    made = loaded.generate(torch.tensor([question.tokens]), do_sample=False, max_new_tokens=2)[0, 2:]
    first = int(question.address)
    assert COUNTING.decode(made.tolist()) == f"{(first + 1) % 10}{(first + 2) % 10}"


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        if text.startswith("0 count"):
            first.deadline = 0.0

    first = training(tmp_path, say=stop)
    assert not first.run()
    assert 0 < first.progress.tokens < RECIPE.stages[0].tokens  # type: ignore[union-attr]
    said: list[str] = []
    second = training(tmp_path, say=said.append)
    assert said == [f"goes on at stage 0, {first.progress.tokens:,} tokens"]
    for name, weight in first.learner.model.state_dict().items():
        assert torch.equal(weight, second.learner.model.state_dict()[name])
    assert second.run()
    steps = [entry["step"] for entry in second.report()["log"]]
    assert steps == sorted(set(steps))
    assert second.progress.log[: len(first.progress.log)] == first.progress.log
    assert second.progress.tokens == 256 * second.progress.steps < RECIPE.tokens + 2 * 256

    third = training(tmp_path)
    assert third.run()
    assert third.progress.steps == second.progress.steps


def test_a_deadline_that_has_passed_still_leaves_a_checkpoint(tmp_path: Path) -> None:
    run = training(tmp_path, deadline=time.monotonic() - 1)
    assert not run.run()
    assert run.progress.steps == 0
    assert (tmp_path / "checkpoint.pt").is_file()
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    ("recipe", "error", "says"),
    [
        (replace(RECIPE, curriculum=f"{HERE}:NOTHING"), UnknownName, "NOTHING"),
        (replace(RECIPE, curriculum="no.such.module:X"), UnknownName, "no.such.module"),
        (replace(RECIPE, curriculum="nothing"), UnknownName, "nothing"),
        (replace(RECIPE, model=replace(RECIPE.model, vocabulary=8)), InputError, "8 tokens and its curriculum 13"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, recipe: Recipe, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        training(tmp_path, recipe)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    training(tmp_path, deadline=0.0).run()
    with pytest.raises(InputError, match="another model"):
        training(tmp_path, replace(RECIPE, model=replace(RECIPE.model, layers=1)))


def test_an_unknown_stage_and_rows_too_narrow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no stage 'dance'"):
        training(tmp_path / "a", replace(RECIPE, stages=(Train("dance", 1),))).run()
    with pytest.raises(InputError, match="do not fit"):
        training(tmp_path / "b", replace(RECIPE, width=4)).run()
