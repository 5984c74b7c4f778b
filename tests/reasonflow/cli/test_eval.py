"""`reasonflow eval` and `reasonflow models` as commands, over the scripted engine and once over the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends import embedded
from reasonflow.cli import eval as command
from reasonflow.cli import models
from reasonflow.cli.eval import default_folder

PROBLEMS = [{"id": str(n), "problem": f"{n} + {n}", "answer": str(2 * n)} for n in range(4)]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The scripted engine in place of vLLM; what it was opened with."""
    opened: list[dict[str, Any]] = []

    def open_lm(model: str, **options: Any) -> dspy.LM:
        opened.append({"model": model, **options})
        return rf.scripted(lambda *_: "It is \\boxed{4}.", temperature=0.5)

    monkeypatch.setattr(command, "open_lm", open_lm)
    return opened


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "doubles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS), encoding="utf-8")
    return path


def test_json_is_one_object_on_stdout_and_all_talk_on_stderr(
    scripted: list[dict[str, Any]], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("eval", "pdr", "--data", str(data), "--set", "widths=2,2", "--samples", "2", "--temperature", "0.7")
    assert reasonflow(*words, "--limit", "3", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert (result["problems"], result["samples"], result["errors"]) == (3, 2, 0)
    assert result["sequential_tokens"] < result["total_tokens"]
    assert "pdr on doubles with embedded: 3 problems × 2 samples" in err
    folder = Path(result["out"])
    assert folder == Path("runs/pdr-doubles-embedded-0")
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 6
    assert json.loads((folder / "results.json").read_text())["accuracy"] == result["accuracy"]
    assert json.loads((folder / "manifest.json").read_text())["settings"] == {"widths": [2, 2]}
    opened = {"engine": "vllm", "api_key_env": None, "top_p": None, "max_tokens": None, "verbose": False}
    assert scripted == [{"model": "embedded", "temperature": 0.7, **opened}]


def test_a_file_is_read_as_the_benchmark_beside_it(
    scripted: list[dict[str, Any]], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": "a", "question": "Which?", "answers": [{"Sum": 4}]},
        {"id": "b", "question": "How many?", "answers": [4]},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("eval", "chain_of_thought", "--data", str(data), "--json")
    assert reasonflow(*words, "--benchmark", "fanoutqa") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["accuracy"], result["benchmark"]) == (0.5, "fanoutqa-doubles")
    assert Path(result["out"]) == Path("runs/chain_of_thought-fanoutqa-doubles-embedded-0")


def test_the_table_is_the_result_and_the_same_command_resumes(
    scripted: list[dict[str, Any]],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ("eval", "self_consistency", "--set", "n=2", "--data", str(data), "--out", "here")
    assert reasonflow(*words) == 0
    first = capsys.readouterr().out
    assert "25.0%" in first
    assert "accuracy" in first
    before = Path("here/samples.jsonl").read_text()
    assert reasonflow(*words) == 0
    assert "4 of an earlier session" in capsys.readouterr().out
    assert Path("here/samples.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pdrr"], "did you mean 'pdr'"),
        (["pdr", "--benchmark", "gsm8"], "did you mean 'gsm8k'"),
        (["pdr", "--set", "width=2"], "did you mean 'widths'"),
        (["pdr", "--set", "widths=x"], "not a list of whole numbers"),
        (["pdr", "--set", "widths=0,2"], "0"),
        (["pdr", "--data", "nothing.jsonl"], "there is no file"),
        (["pdr", "--data", "doubles.jsonl", "--benchmark", "graphmath:mid"], "both"),
        (["pdr", "--data", "doubles.jsonl", "--benchmark", "gsm8"], "did you mean 'gsm8k'"),
        (["pdr", "--data", "nothing.jsonl", "--benchmark", "2wiki"], "there is no file"),
        (["self_consistency", "--set", "n=100000"], "100000"),
        (["self_consistency", "--set", "n=0"], "n=0 is out of range"),
        (["pdr", "--set", "widths="], "at least one round"),
        (["pdr", "--set", "workspace_tokens=0"], "leaves no room for notes"),
        (["pdr", "--set", "distiller=top_k", "--set", "k=0"], "k=0"),
        (["pdr", "--benchmark", ""], "unknown benchmark"),
        (["pdr", "--budget", "tokens=3"], "unknown budget 'tokens'"),
        (["pdr", "--budget", "total=many"], "'many' is no amount"),
        (["pdr", "--overall-budget", "total"], "not of the form name=amount"),
        (["pdr", "--overall-budget", "sequential=4k"], "limits sequential tokens"),
    ],
)
def test_wrong_input_ends_with_2_before_an_engine_opens(
    scripted: list[dict[str, Any]],
    data: Path,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    assert reasonflow("eval", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert says in err
    assert scripted == []
    assert not Path("runs").exists()


def test_budgets_limit_each_run_and_all_of_them(
    scripted: list[dict[str, Any]],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ("eval", "self_consistency", "--set", "n=8", "--data", str(data), "--out", "here", "--budget", "calls=4")
    assert reasonflow(*words, "--overall-budget", "calls=10,seconds=10m") == 0
    assert "stopped by the budget: 2 of 4 samples, 2 missing" in capsys.readouterr().out
    assert json.loads(Path("here/results.json").read_text())["planned"] == 4
    assert reasonflow(*words, "--overall-budget", "calls=1k", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runs"], result["resumed"], result["stopped"]) == (4, 2, "")
    rows = [json.loads(line) for line in Path("here/samples.jsonl").read_text().splitlines()]
    assert [row["calls"] for row in rows] == [4] * 4
    assert reasonflow(*words[:-1], "calls=5") == 2
    assert "budget.calls was 4, now 5" in capsys.readouterr().err


def test_a_budget_no_answer_fits_in_ends_before_anything_runs(
    scripted: list[dict[str, Any]], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("eval", "pdr", "--data", str(data), "--budget", "total=3") == 1
    assert "needs at least" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_bad_line_is_named(
    scripted: list[dict[str, Any]], data: Path, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text(json.dumps(PROBLEMS[0]) + "\n{oops\n")
    assert reasonflow("eval", "pdr", "--data", str(data)) == 2
    assert f"{data}:2: not valid JSON" in capsys.readouterr().err


def test_folders_are_named_after_what_they_hold() -> None:
    assert default_folder("pdr", "aime24", "Qwen/Qwen3-8B", 3) == Path("runs/pdr-aime24-Qwen3-8B-3")
    assert default_folder("pdr", "rg:gcd,max_value=9", "./models/my model/", 0) == Path(
        "runs/pdr-rg_gcd_max_value=9-my_model-0"
    )


SLOW = """
import sys, time
import reasonflow as rf
from reasonflow.cli import eval as command
from reasonflow.cli.main import main
first, others = iter([0.1]), float(sys.argv[3])  # seconds
latency = lambda *_: next(first, others)
command.open_lm = lambda model, **options: rf.scripted(lambda *_: "\\\\boxed{4}", latency=latency, max_running=1)
sys.argv = ["reasonflow", "eval", "chain_of_thought", "--data", sys.argv[1], "--out", sys.argv[2]]
main()
"""


def test_ctrl_c_keeps_what_ended_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    command_line = [sys.executable, "-c", SLOW, str(data), str(tmp_path / "run")]
    env = {**os.environ, "COLUMNS": "200"}
    run = subprocess.Popen([*command_line, "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("1/4"):
            break
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert "of 4 samples are in" in err
    assert out == ""
    kept = (tmp_path / "run" / "samples.jsonl").read_text()
    assert kept.count("\n") == 1
    again = subprocess.run([*command_line, "0"], capture_output=True, text=True, env=env, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "of an earlier session" in again.stdout
    assert (tmp_path / "run" / "samples.jsonl").read_text().startswith(kept)


def test_models_lists_the_built_in_ones_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants

    snapshot = tmp_path / "hub" / "models--Some--Model" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"x" * 2000)
    half = tmp_path / "hub" / "models--Some--Half" / "snapshots" / ("b" * 40)
    half.mkdir(parents=True)
    (half / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    assert reasonflow("models", "--json") == 0
    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert list(found)[:2] == ["embedded", "embedded-draft"]
    assert {found[name]["state"] for name in ("embedded", "embedded-draft")} == {"ready"}
    assert found["embedded"]["bytes"] > 2 * found["embedded-draft"]["bytes"] > 2_000_000
    assert found["Some/Model"]["state"] == "ready"
    assert found["Some/Model"]["bytes"] >= 2000
    assert found["Some/Half"]["state"] == "incomplete"
    assert reasonflow("models") == 0
    printed = capsys.readouterr().out
    assert "Some/Model" in printed
    assert f"{found['embedded']['bytes'] / 1e6:.1f} MB" in printed


def test_without_a_cache_there_are_the_built_in_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "none"), raising=False)
    assert models.cached() == []
    assert [model.name for model in models.built_in()] == ["embedded", "embedded-draft"]


def test_a_built_in_model_without_its_weights_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_MODELS", tmp_path)
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "config.json").write_text("{}")
    first, second = models.built_in()
    assert (first.state, first.bytes, second.state, second.bytes) == ("incomplete", 2, "incomplete", 0)
    assert "generation_config.json is missing" in first.note


@pytest.mark.engine
def test_a_real_model_is_evaluated(
    embedded_lm: dspy.LM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "open_lm", lambda model, **options: embedded_lm)
    words = ("eval", "self_consistency", "--set", "n=4", "--limit", "4", "--out", str(tmp_path / "run"), "--json")
    assert reasonflow(*words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["errors"] == 0
    assert result["problems"] == 4
    assert 0 < result["token_latency"] <= 64 < result["total_tokens"]
    assert result["cached_share"] > 0.3  # the prompt of four siblings is computed once, but for its last block
