"""The example scripts run as they stand, and print what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.reasonflow.backends.openai_server import OpenAIServer

EXAMPLES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.py"))}
_LINES = 45
"""A page, with the text a scripted model needs."""
_RUN_ALL = """
import contextlib, io, json, runpy, sys, traceback
results = {}
for name, path, *arguments in json.load(sys.stdin):
    out, sys.argv = io.StringIO(), [path, *arguments]
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(path, run_name="__main__")
        results[name] = [out.getvalue(), ""]
    except Exception:
        results[name] = [out.getvalue(), traceback.format_exc()]
print(json.dumps(results))
"""
"""One process for all of them: each alone would spend most of its time on imports."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, str]]:
    """What each printed, and how it failed."""
    page = tmp_path_factory.mktemp("examples") / "run.html"
    with OpenAIServer(answer=lambda prompt, seed, index: "So \\boxed{25}") as server:
        arguments = {"openai_server": [server.base_url, server.model], "notebook_pictures": [str(page)]}
        work = [[name, str(path), *arguments.get(name, [])] for name, path in EXAMPLES.items()]
        done = subprocess.run(
            [sys.executable, "-c", _RUN_ALL],
            input=json.dumps(work),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=page.parent,
        )
    assert done.returncode == 0, done.stderr
    assert "<html" in page.read_text(encoding="utf-8") or "<!doctype html>" in page.read_text(encoding="utf-8")
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: (out, error) for name, (out, error) in results.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_prints(name: str, ran: Mapping[str, tuple[str, str]]) -> None:
    out, error = ran[name]
    assert not error, error
    assert out.strip() or name == "notebook_pictures"


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_prints_what_its_comments_promise(name: str, ran: Mapping[str, tuple[str, str]]) -> None:
    promised = re.findall(r"# -> (.*)$", EXAMPLES[name].read_text(encoding="utf-8"), re.MULTILINE)
    printed = iter(ran[name][0].splitlines())
    assert [line for line in promised if line not in printed] == []  # in this order


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_a_page_with_a_line_for_a_real_model(name: str) -> None:
    text = EXAMPLES[name].read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= _LINES
