"""Every command and every option: said what it is, shown how, and meaning one thing everywhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import pytest
import typer

from reasonflow.cli.main import app, register

SHARED = {
    "--json": (bool, "JSON object"),
    "--model": (str, "embedded, a folder, or a Hugging Face name"),
    "--set": (list[str], "Constructor option"),
    "--signature": (str, "DSPy signature"),
    "--seed": (int, "Equal seeds draw equal samples"),
    "--temperature": (float, "0 is greedy"),
    "--top-p": (float, "Nucleus"),
    "--max-tokens": (int, "Generated tokens per call at most"),
    "--verbose": (bool, "The engine's own log on standard error."),
    "--budget": (str, "sequential"),
    "--repeats": (int, "each arm"),
    "--engine": (str, "a server's URL"),
    "--api-key-env": (str, "API key"),
    "--data": (Path, "JSON lines with problem and answer"),
    "--benchmark": (str, "graphmath:MIX"),
    "--corpus": (list[Path], "JSON lines with title and text"),
    "--allow": (list[str], "its module is imported"),
    "--alpha": (float, "Errors among what"),
    "--delta": (float, "Chance that there are more."),
    "--limit": (int, "At most so many problems"),
    "--samples": (int, "Runs per problem"),
    "--engine-option": (list[str], "Option of the engine"),
    "--out": (Path, "the same command goes on there"),
    "--concurrency": (int, "Runs side by side"),
    "--context-tokens": (int, "Length of the context"),
    "--prompts-by": (str, "Of DSPy's"),
    "--picture": (Path, ".png, .svg or .pdf"),
}
"""Options of several commands: the type of each, and what its help must say in every one."""

SHORT = {"-v": "--verbose", "-h": "--help"}
"""Short names, of one option each."""


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""
    register()
    found: dict[str, Any] = {}

    def walk(words: str, command: Any) -> None:
        below = getattr(command, "commands", None)
        if below is None:
            found[words] = command
        else:
            for name, inner in below.items():
                walk(f"{words} {name}".strip(), inner)

    walk("", typer.main.get_command(app))
    return found


COMMANDS = commands()


def options(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def name(option: Any) -> str:
    return next(word for word in option.opts if word.startswith("--"))


def kind(command: Any, option: Any) -> Any:
    """The type of its value where it is given."""
    hint = get_type_hints(command.callback)[option.name]
    arms = [arm for arm in get_args(hint) if arm is not NoneType] if isinstance(hint, UnionType) else [hint]
    return arms[0] if len(arms) == 1 else hint


def by_name() -> dict[str, list[tuple[Any, Any]]]:
    """(command, option) for every option of that name."""
    found: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for command in COMMANDS.values():
        for option in options(command):
            found[name(option)].append((command, option))
    return found


def test_the_commands_are_the_known_ones() -> None:
    on_an_engine = ("prefix", "pressure", "latency", "cancel", "engine", "layouts", "compile", "prompts")
    benchmarks = ("overhead", "fanout", "http", "index", "recall", "search", "gate", *on_an_engine)
    alone = ("run", "eval", "compare", "sweep", "compile", "explain", "models", "doctor")
    assert set(COMMANDS) == {*alone, *(f"bench {name}" for name in benchmarks)}


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_and_argument_says_what_it_is(words: str) -> None:
    command = COMMANDS[words]
    assert command.help
    for parameter in command.params:
        told = getattr(parameter, "help", None)
        assert told, f"{words} {parameter.name} has no help"
        assert told.endswith("."), f"{words} {parameter.name}: {told!r} is no sentence"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_shows_examples_that_parse(words: str) -> None:
    command = COMMANDS[words]
    lines = re.findall(r"^\s*reasonflow (.+)$", command.help or "", re.MULTILINE)
    assert lines, f"{words} shows no example"
    for line in lines:
        assert line.startswith(words)
        arguments = shlex.split(line.removeprefix(words))
        with command.make_context(words, arguments) as context:
            assert context.params


@pytest.mark.parametrize("words", COMMANDS)
def test_an_option_that_does_not_exist_is_refused(words: str) -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        COMMANDS[words].make_context(words, ["--no-such-option"])


def test_options_of_several_commands_are_in_the_table() -> None:
    assert {option for option, found in by_name().items() if len(found) > 1} <= set(SHARED) | {"--help"}


@pytest.mark.parametrize("option", SHARED)
def test_a_shared_option_means_one_thing(option: str) -> None:
    expected, says = SHARED[option]
    found = by_name()[option]
    assert found, f"no command has {option} any more"
    for command, each in found:
        assert kind(command, each) == expected
        assert says in each.help


def test_a_short_name_stands_for_one_option() -> None:
    for option, found in by_name().items():
        for _, each in found:
            for short in (word for word in each.opts if not word.startswith("--")):
                assert SHORT.get(short) == option


HELP = """
import json, os, sys, time

def timed(work):
    began = time.process_time()
    work()
    return time.process_time() - began

def load():
    global main
    from reasonflow.cli.main import main

def show():
    try:
        main()
    except SystemExit:
        pass

library = timed(lambda: __import__("dspy"))
ours = timed(load)
for words in json.loads(sys.argv[1]):
    if os.fork() == 0:  # a process of its own for every command: what one imports is not there for the next
        sys.argv = ["reasonflow", *words.split(), "--help"]
        seconds = ours + timed(show)
        heavy = sorted({"torch", "vllm", "transformers", "datasets", "litellm", "openai"} & set(sys.modules))
        print("\\0" + json.dumps([words, seconds / library, heavy]), end="\\0", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[str, float, list[str]]]:
    """What `--help` of each command prints, what it takes against importing DSPy alone, and what it imported."""
    asked = [sys.executable, "-c", HELP, json.dumps(["", "bench", *COMMANDS])]
    printed, *rest = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\0")
    found = {}
    for measured, after in zip(rest[::2], rest[1::2], strict=True):
        words, times, heavy = json.loads(measured)
        found[words] = (printed, times, heavy)
        printed = after
    return found


@pytest.mark.parametrize("words", ["", "bench", *COMMANDS])
def test_help_is_quick_and_imports_no_engine(words: str, helps: dict[str, tuple[str, float, list[str]]]) -> None:
    printed, times, heavy = helps[words]
    assert f"Usage: reasonflow {words}".strip() in " ".join(printed.split())
    assert heavy == []
    assert times < 3  # as long as importing DSPy is usual; several times as long means a whole library more


def test_a_command_is_attached_once_however_often_the_program_is_called(
    reasonflow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [reasonflow("--version"), reasonflow("--version")] == [0, 0]
    names = [each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands]
    assert len(names) == len(set(names)) == len(COMMANDS) - len([words for words in COMMANDS if " " in words])
