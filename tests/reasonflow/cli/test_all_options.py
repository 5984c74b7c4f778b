"""Every command and every option: said what it is, shown how, and meaning one thing everywhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest
import typer

from reasonflow.cli.main import app, register

SHARED = {
    "--json": "JSON object",
    "--model": "embedded, a folder, or a Hugging Face name",
    "--set": "KEY=VALUE",
    "--signature": "DSPy signature",
    "--seed": "Equal seeds draw equal samples",
    "--temperature": "0 is greedy",
    "--top-p": "Nucleus",
    "--max-tokens": "Generated tokens per call at most",
    "--verbose": "The engine's own log on standard error.",
    "--budget": "sequential",
    "--repeats": "each arm",
}
"""Options that several commands have, and what the help of each must say."""


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""
    if not app.registered_commands:
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


def test_the_commands_are_the_known_ones() -> None:
    assert set(COMMANDS) == {"run", "eval", "explain", "models", "doctor", "bench overhead", "bench cancel"}


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


def test_an_option_means_the_same_everywhere() -> None:
    types: dict[str, set[str]] = defaultdict(set)
    for command in COMMANDS.values():
        for option in options(command):
            if name(option) in SHARED:
                types[name(option)].add(str(option.display_type))
    assert {option: kinds for option, kinds in types.items() if len(kinds) > 1} == {}


def test_options_that_several_commands_share_are_listed_here_and_say_the_same() -> None:
    told: dict[str, list[str]] = defaultdict(list)
    for command in COMMANDS.values():
        for option in options(command):
            text = getattr(option, "help", "") or ""
            told[name(option)].append(f"{option.metavar or ''} {text}")
    shared = {option for option, texts in told.items() if len(texts) > 1}
    assert shared <= set(SHARED) | {"--help"}, "an option of several commands belongs into the list"
    for option in shared & set(SHARED):
        for text in told[option]:
            assert SHARED[option] in text, f"{option}: {text!r}"


def test_help_is_quick_and_imports_no_engine() -> None:
    script = (
        "import sys, time; began = time.process_time(); from reasonflow.cli.main import main\n"
        "sys.argv = ['reasonflow', 'eval', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'vllm', 'transformers', 'datasets', 'litellm'} & set(sys.modules)\n"
        "print(f'heavy={sorted(heavy)}', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Examples" in done.stdout
    assert "heavy=[]" in done.stderr or "heavy=['litellm']" in done.stderr, done.stderr
