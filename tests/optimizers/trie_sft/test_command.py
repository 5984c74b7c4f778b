"""The command trains on a file, shows itself on made data, and says what is wrong plainly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.errors import InputError  # noqa: E402
from reasonflow.optimizers.trie_sft import smoke  # noqa: E402
from reasonflow.optimizers.trie_sft.__main__ import main  # noqa: E402
from reasonflow.optimizers.trie_sft.sums import trajectories  # noqa: E402
from tests.optimizers.trie_sft.tiny import tiny  # noqa: E402


def run(*arguments: str) -> tuple[str, str]:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.stdout, result.stderr


def test_a_file_is_trained_on_and_gone_on_with(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in trajectories(6)), encoding="utf-8")
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({**trajectories(7)[6], "correct": False}), encoding="utf-8")
    base = str(tiny("Llama", tmp_path / "base"))
    command = [
        "--model",
        base,
        "--data",
        str(data),
        str(more),
        "--out",
        str(tmp_path / "out"),
        "--batch",
        "2",
        "--device",
        "cpu",
    ]
    command += ["--row-tokens", "600", "--lora-rank", "2", "--epochs", "2", "--lr", "1e-2"]
    report = json.loads(run(*command, "--json")[0])
    assert report["finished"]
    assert report["steps"] == len(report["loss"]) == 2 * -(-report["trajectories"] // 2)
    assert report["settings"]["lora_rank"] == 2
    assert report["skipped"]["wrong"] == 1
    transformers.AutoModelForCausalLM.from_pretrained(report["exported"])
    out, err = run(*command)
    assert f"goes on at step {report['steps']} of {report['steps']}" in err
    assert f"finished; the model is in {tmp_path / 'out' / 'model'}" in out


def test_the_smoke_run_shows_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "TRAJECTORIES", 16)
    monkeypatch.setattr(smoke, "_CHECKED", 1)
    report = json.loads(run("--smoke", "--json", "--out", str(tmp_path))[0])
    assert report["finished"]
    assert report["loss"][-1] < report["loss"][0] - 1
    assert report["equivalence"]["holds"]
    assert report["resumed_at_step"] == 2 < report["steps"] == 4
    assert report["epoch"]["saved_share"] > 0.5
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "smoke" / "model")
    monkeypatch.setattr(smoke, "TRAJECTORIES", 2)  # what is said of a run does not hang on its size
    again, talk = run("--smoke", "--out", str(tmp_path / "again"))
    assert "goes on at step 1 of 2" in talk
    for words in ("loss ", "are saved", "within 3e-04", "resumed at step 1", "finished"):
        assert words in again


def test_made_trajectories_are_equal_for_equal_seeds() -> None:
    assert trajectories(5, 1) == trajectories(5, 1) != trajectories(5, 2)


def test_what_is_wrong_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data"):
        run("--out", str(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        run("--out", str(tmp_path), "--data", str(tmp_path / "none.jsonl"))


def test_help_says_what_a_line_of_data_is() -> None:
    told = " ".join(run("--help")[0].split())
    for words in ('"messages": [', '"context": [1, 2]', "--smoke", "--lora-rank", "well_formed"):
        assert words in told


def test_the_smoke_run_takes_the_device_and_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'tpu' is not supported"):
        run("--smoke", "--device", "tpu", "--out", str(tmp_path))
    with pytest.raises(InputError, match="makes its own data"):
        run("--smoke", "--data", "rows.jsonl", "--out", str(tmp_path))
