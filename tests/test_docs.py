"""The documents tell the truth: their snippets run, print what they say, and their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]+)")


def snippets(document: Path) -> list[str]:
    """The document's Python blocks, each with empty lines in front so that errors name the document's own lines."""
    text = document.read_text(encoding="utf-8")
    return ["\n" * text.count("\n", 0, block.start(1)) + block.group(1) for block in _BLOCK.finditer(text)]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripted engine in place of vLLM, and DSPy's configuration as it was afterwards."""

    def vllm(model: str, **options: Any) -> dspy.LM:
        return rf.scripted(r"Counting gives \boxed{25}.", model=model)

    before = dspy.settings.lm
    monkeypatch.setattr(rf, "vllm", vllm)
    yield
    dspy.configure(lm=before)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if snippets(d)], ids=lambda path: path.name)
@pytest.mark.usefixtures("scripted")
def test_the_snippets_print_what_they_say(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared: dict[str, Any] = {"__name__": "__main__"}
    for snippet in snippets(document):
        exec(compile(snippet, str(document), "exec"), shared)  # one page, one namespace: later blocks use earlier names
        printed = capsys.readouterr().out.splitlines()
        for promise in re.findall(r"# -> (.*)$", snippet, re.MULTILINE):
            assert promise in printed, f"{document.name} promises {promise!r}; printed: {printed}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_commands_in_the_readme_exist() -> None:
    from reasonflow.cli.main import app, register

    register()
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    shown = set(
        re.findall(r"^(?:\$ )?reasonflow ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert shown
    assert shown <= known
