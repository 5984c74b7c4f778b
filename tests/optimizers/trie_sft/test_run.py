"""A training learns, stops and goes on to the same weights, and refuses to go on as another one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.errors import InputError, UnknownName  # noqa: E402
from reasonflow.optimizers.trie_sft import Settings, TrieSFT  # noqa: E402
from reasonflow.optimizers.trie_sft.models import check, end_of_turn  # noqa: E402
from reasonflow.optimizers.trie_sft.rows import row_of  # noqa: E402
from reasonflow.optimizers.trie_sft.sums import trajectories  # noqa: E402
from tests.optimizers.trie_sft.tiny import SIZES, tiny  # noqa: E402

ROWS = trajectories(7)
SETTINGS = Settings(epochs=3, lr=3e-3, batch=3, row_tokens=1024)
LORA = replace(SETTINGS, lora_rank=4, lr=1e-2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny("Qwen3", tmp_path / "base")


def training(folder: Path, out: Path, settings: Settings = SETTINGS, rows: Any = ROWS, **options: Any) -> TrieSFT:
    return TrieSFT(folder, rows, out, settings, device="cpu", **{"say": lambda text: None, **options})


def weights(run: TrieSFT) -> dict[str, Any]:
    return {name: weight.clone() for name, weight in run.learner.model.state_dict().items()}


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["all weights", "adapters"])
def test_what_was_stopped_twice_ends_in_the_same_weights(folder: Path, tmp_path: Path, settings: Settings) -> None:
    whole = training(folder, tmp_path / "whole", settings)
    assert whole.steps == 9
    before = weights(whole)
    assert whole.fit()

    said: list[str] = []
    assert not training(folder, tmp_path / "parts", settings).fit(steps=2)
    assert not training(folder, tmp_path / "parts", settings, say=said.append).fit(steps=3)
    last = training(folder, tmp_path / "parts", settings)
    assert last.fit()
    assert any("goes on at step 2 of 9" in line for line in said)
    assert last.progress.log == whole.progress.log
    assert last.progress.tokens == whole.progress.tokens == 3 * sum(map(len, whole.data.tries))
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(last)[name]), name
    changed = {name for name, weight in weights(whole).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "lora_" in name or not settings.lora_rank}
    assert whole.progress.log[-1]["loss"] < whole.progress.log[0]["loss"] - 0.3
    assert training(folder, tmp_path / "parts", settings).fit()


def test_an_update_is_as_large_as_the_rate_and_its_gradient_is_clipped(folder: Path, tmp_path: Path) -> None:
    def update(scale: float, clip: float) -> tuple[float, float]:
        run = training(folder, tmp_path, replace(SETTINGS, clip=clip))
        before = weights(run)
        run.learner.step([row_of(run.data.tries[:2])], scale)
        gradients = [weight.grad.norm() for weight in run.learner.model.parameters()]
        return max(float((weights(run)[name] - before[name]).abs().max()) for name in before), float(
            torch.stack(gradients).norm()
        )

    (full, norm), (half, _), (none, _), (_, clipped) = (
        update(1, 1e9),
        update(0.5, 1e9),
        update(0, 1e9),
        update(1, 0.1),
    )
    assert full == pytest.approx(SETTINGS.lr, rel=0.05)  # Adam's first update is the rate, whatever the gradient
    assert half == pytest.approx(full / 2, rel=0.05)
    assert none == 0
    assert norm > 0.2
    assert clipped == pytest.approx(0.1, rel=0.01)


def test_epochs_have_orders_of_their_own_and_read_everything_once(folder: Path, tmp_path: Path) -> None:
    run, other = training(folder, tmp_path), training(folder, tmp_path, replace(SETTINGS, seed=1))
    orders = [[number for step in range(3 * epoch, 3 * epoch + 3) for number in run._batch(step)] for epoch in range(3)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert [len(run._batch(step)) for step in range(3)] == [3, 3, 1]
    assert orders[0] != [number for step in range(3) for number in other._batch(step)]


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["all weights", "adapters"])
def test_narrow_rows_and_recomputed_activations_train_alike(folder: Path, tmp_path: Path, settings: Settings) -> None:
    once, again = (training(folder, tmp_path, replace(settings, recompute=recompute)) for recompute in (False, True))
    tries = [once.data.tries[number] for number in range(3)]
    narrow, wide = [row_of([trie]) for trie in tries], [row_of(tries)]
    found = [(once, narrow), (training(folder, tmp_path, settings), wide), (again, narrow)]
    losses = [[run.learner.step(rows, 1.0) for _ in range(3)] for run, rows in found]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == losses[0]
    assert losses[0][2] < losses[0][0]


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["all weights", "adapters"])
def test_bfloat16_learns_as_float32_does(folder: Path, tmp_path: Path, settings: Settings) -> None:
    exact = training(folder, tmp_path / "a", settings)
    rounded = training(folder, tmp_path / "b", replace(settings, dtype="bfloat16"))
    exact.fit()
    rounded.fit()
    losses, expected = rounded.report()["loss"], exact.report()["loss"]
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.02)
    assert all(weight.dtype == torch.float32 for weight in rounded.learner._trained.values())


@pytest.mark.parametrize(
    ("changes", "rows", "says"),
    [
        ({"lr": 1e-4}, ROWS, "lr 0.003 there, 0.0001 here"),
        ({"epochs": 4, "seed": 5}, ROWS, "epochs 3 there, 4 here; seed 0 there, 5 here"),
        ({}, ROWS[:-1], "data [0-9a-f]+ there"),
        ({"lora_rank": 2}, ROWS, "lora_rank 0 there, 2 here"),
        ({"dtype": "bfloat16"}, ROWS, "dtype float32 there, bfloat16 here"),
    ],
)
def test_another_training_is_not_gone_on_with(
    folder: Path, tmp_path: Path, changes: dict[str, Any], rows: Any, says: str
) -> None:
    training(folder, tmp_path).fit(steps=0)
    with pytest.raises(InputError, match=says):
        training(folder, tmp_path, replace(SETTINGS, **changes), rows)


def test_another_model_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path / "out").fit(steps=0)
    with pytest.raises(InputError, match=r"why: model [0-9a-f]+ there"):
        training(tiny("Llama", tmp_path / "other"), tmp_path / "out")


def test_the_report_counts_what_was_done(folder: Path, tmp_path: Path) -> None:
    run = training(folder, tmp_path, rows=[*ROWS, {**ROWS[0], "correct": False}])
    assert not run.fit(steps=4)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["skipped"] == {"wrong": 1}
    assert (report["steps"], report["steps_in_all"], report["finished"]) == (4, 9, False)
    tries = run.data.tries
    read = [number for step in range(4) for number in run._batch(step)]
    assert report["tokens_trained"] == sum(len(tries[number]) for number in read)
    assert report["tokens_learned"] == sum(int(tries[number].learned.sum()) for number in read)
    assert report["epoch"]["saved"] == sum(trie.saved for trie in tries)
    assert 0 < report["epoch"]["saved_share_of_longest_sequences"] < report["epoch"]["saved_share"] < 1
    assert len(report["loss"]) == 4


def test_time_that_is_over_leaves_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = training(folder, tmp_path, say=said.append)
    assert not run.fit(seconds=0)
    assert run.progress.steps == 0
    assert (tmp_path / "checkpoint.pt").is_file()
    assert not list(tmp_path.glob("*.new"))
    run.fit(steps=1)
    assert said[-1].startswith("step 1/9  loss ")
    assert "tokens/s" in said[-1]
    assert said[-1].endswith(" left")


def test_checkpoints_come_every_so_many_steps(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, saved = training(folder, tmp_path, save_every=2), []
    monkeypatch.setattr(run, "save", lambda: saved.append(run.progress.steps))
    run.fit(steps=5)
    assert saved == [2, 4, 5]


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    scales = [Settings().scale(step, 100) for step in range(100)]
    assert scales[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert scales[5] == 1.0
    assert all(later < sooner for sooner, later in pairwise(scales[5:]))
    assert scales[52] == pytest.approx(0.5, abs=0.02)
    assert 0 < scales[-1] < 0.001
    assert Settings().scale(0, 1) == 1.0


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"epochs": 0}, InputError, "epochs is 0"),
        ({"lr": 0.0}, InputError, "learning rate"),
        ({"lr": float("nan")}, InputError, "learning rate"),
        ({"lora_rank": -1}, InputError, "lora_rank"),
        ({"dialect": "threadweavers"}, UnknownName, "threadweaver"),
        ({"dtype": "float8"}, UnknownName, "float32"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Settings(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"model_type": "mamba"}, "family 'mamba'"), ({"use_sliding_window": True}, "sliding window")],
)
def test_models_whose_attention_is_another_are_refused(folder: Path, changes: Any, says: str) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        training(folder, folder / "out")


def test_the_end_of_a_turn_is_what_the_tokenizer_says_else_where_the_model_stops(tmp_path: Path) -> None:
    from reasonflow.backends.model_files import ModelFiles

    def files(name: str, **contents: Any) -> ModelFiles:
        (tmp_path / name).mkdir()
        for file, content in {"config": {"model_type": "qwen3", **SIZES}, **contents}.items():
            (tmp_path / name / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
        return ModelFiles(str(tmp_path / name))

    def encode(text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    stops = {"eos_token_id": [8, 9]}
    assert end_of_turn(files("a", tokenizer_config={"eos_token": "E"}, generation_config=stops), encode) == (69,)
    assert end_of_turn(files("b", tokenizer_config={"eos_token": {"content": "F"}}), encode) == (70,)
    assert end_of_turn(files("c", generation_config=stops), encode) == (8,)
    assert end_of_turn(files("d"), encode) == (3,)
    silent = files("e", config={"model_type": "qwen3"})
    check(silent)
    with pytest.raises(InputError, match="does not say what ends a turn"):
        end_of_turn(silent, encode)


def test_an_unknown_device_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="abacus"):
        TrieSFT(folder, ROWS, tmp_path, device="abacus", say=lambda text: None)
