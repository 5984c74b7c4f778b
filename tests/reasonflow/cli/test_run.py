"""`reasonflow run` and what every command does with wrong words, over the scripted engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.cli import run as command


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the scripted engine in place of vLLM answers: change it in the test."""
    texts = ["So it is \\boxed{42}."]
    monkeypatch.setattr(command, "open_lm", lambda model, **options: _engine(texts, options))
    return texts


def _engine(texts: list[str], options: dict[str, Any]) -> dspy.LM:
    return rf.scripted(lambda *_: texts[0], window=512, seed=options["seed"], max_tokens=options["max_tokens"])


def test_the_answer_is_all_of_standard_output(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("run", "self_consistency", "Let x = 6. What is 7x?", "--set", "n=2", "--explain") == 0
    out, err = capsys.readouterr()
    assert out == "42\n"
    assert "2 samples" in err


def test_json_is_one_object_with_the_record(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("problem=six", "hint=seven", "--signature", "problem, hint -> answer", "--seed", "3", "--json")
    assert reasonflow("run", "chain_of_thought", *words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == {"reasoning": "So it is \\boxed{42}.", "answer": "42"}
    assert (result["run"]["usage"]["calls"], result["run"]["seed"]) == (1, 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["chain_of_thougt", "x"], "did you mean 'chain_of_thought'"),
        (["chain_of_thought", ""], "the input is empty"),
        (["chain_of_thought", "problm=x"], "did you mean 'problem'"),
        (["chain_of_thought", "two", "words"], "put a text in quotes"),
        (["chain_of_thought", "x", "--signature", "problem"], "no outputs"),
        (["chain_of_thought", "x", "--signature", "a b -> c"], "not a signature"),
        (["chain_of_thought", "problem=x", "--signature", "problem, hint -> answer"], "was not given hint"),
        (["pdr", "x", "--set", "width=2"], "did you mean 'widths'"),
        (["pdr", "x", "--set", "widths="], "at least one round"),
        (["self_consistency", "x", "--set", "n=0"], "n=0 is out of range"),
        (["self_consistency", "x", "--set", "by=anser"], "did you mean 'answer'"),
        (["chain_of_thought", "word " * 2000], "window is 512"),
    ],
)
def test_wrong_input_ends_with_2_and_a_short_message(
    answers: list[str],
    reasonflow: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    assert reasonflow("run", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert says in err
    assert len(err) < 1200


@pytest.mark.parametrize("program", ["chain_of_thought", "self_consistency"])
def test_a_text_without_an_answer_ends_with_1(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str], program: str
) -> None:
    answers[0] = "I cannot say."
    assert reasonflow("run", program, "x", "--json") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "fix: " in err


def test_the_version(reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert reasonflow("--version") == 0
    assert capsys.readouterr().out == f"reasonflow {rf.__version__}\n"


@pytest.mark.parametrize(
    "words", ["run", "eval", "explain", "models", "doctor", "bench overhead", "bench fanout", "bench cancel"]
)
def test_every_command_has_examples(
    words: str, reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow(*words.split(), "-h") == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"reasonflow {words}" in shown.partition("Examples:")[2]


def test_a_run_that_is_cut_prints_its_answer_and_says_so(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("run", "sequential_refine", "p", "--budget", "calls=2") == 0
    out, err = capsys.readouterr()
    assert out == "42\n"
    assert "cut short: the budget leaves no room for loop/refine[1]" in err
    assert "2 calls ended" in err


def test_a_run_that_was_left_less_room_says_so(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("run", "self_consistency", "p", "--budget", "calls=2") == 0
    out, err = capsys.readouterr()
    assert out == "42\n"
    assert "the budget left less room than the program asks for; 2 calls ended" in err


def test_a_run_within_its_budget_says_nothing(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("run", "chain_of_thought", "p", "--budget", "calls=2") == 0
    assert capsys.readouterr() == ("42\n", "")


def test_a_budget_without_room_for_an_answer_is_an_error(
    answers: list[str], reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reasonflow("run", "self_consistency", "p", "--budget", "total=20") == 1
    assert "needs at least" in capsys.readouterr().err
    assert reasonflow("run", "self_consistency", "p", "--budget", "tokens=20") == 2
    assert "sequential" in capsys.readouterr().err
