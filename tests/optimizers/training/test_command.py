"""The command trains the smoke recipe from end to end, goes on where it stopped, and says what is wrong plainly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.errors import InputError, UnknownName  # noqa: E402
from reasonflow.optimizers.training.__main__ import main  # noqa: E402
from reasonflow.optimizers.training.recipe import RECIPES  # noqa: E402


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).stdout


def test_smoke_trains_drafts_and_exports(tmp_path: Path) -> None:
    model = tmp_path / "elsewhere"
    report = json.loads(run("--smoke", "--workers", "0", "--json", "--out", str(tmp_path), "--export", str(model)))
    smoke = RECIPES["smoke"]
    assert report["finished"]
    assert report["tokens"] >= smoke.tokens
    assert [label.split()[1] for label in report["minutes"]] == [stage.name for stage in smoke.stages]
    assert report["log"][-1]["loss"] < report["log"][0]["loss"]
    assert (tmp_path / "smoke" / "drafts-1" / "drafts.jsonl").is_file()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
    assert sum(param.numel() for param in loaded.parameters()) == smoke.model.parameters == report["parameters"]

    again = run("--smoke", "--workers", "0", "--out", str(tmp_path))
    assert "goes on at stage 3" in again
    assert f"finished after {report['tokens']:,} tokens; the model is in {tmp_path / 'smoke' / 'model'}" in again
    assert "loss" in next(line for line in again.splitlines() if line.startswith("stage 0"))


def test_what_is_wrong_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown recipe 'smok'"):
        run("smok", "--out", str(tmp_path))
    with pytest.raises(InputError, match="device 'abacus'"):
        run("--smoke", "--device", "abacus", "--out", str(tmp_path))
