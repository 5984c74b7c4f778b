"""What the tests of the suite `speculation` share: a run of some parts over scripted models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import dspy
from rich.console import Console

import reasonflow as rf
from reasonflow.evals.suites import find
from reasonflow.evals.suites.findings import Findings
from reasonflow.evals.suites.suite import Setting


def made(part: str, out: Path, scripts: Mapping[str, Any], limit: int, **options: Any) -> Findings:
    """The part's findings. scripts: by the model's name; "m" is the one that is measured."""

    def opened(name: str) -> dspy.LM:
        return rf.scripted(scripts[name], model=name, window=16_384, **options)

    return made_with(part, out, opened, limit)


def made_with(part: str, out: Path, opened: Callable[[str], dspy.LM], limit: int) -> Findings:
    """The same over given language models."""
    console = Console(file=StringIO())
    suite = find("speculation")
    setting = Setting(
        open=opened, model="m", small=suite.small, limit=limit, seed=1, out=out, console=console, parts=(part,)
    )
    return anyio.run(suite.make, setting)


def never(prompt: str, seed: int | None, index: int) -> Any:
    """A model that must not be asked."""
    raise AssertionError("all of it is there")
