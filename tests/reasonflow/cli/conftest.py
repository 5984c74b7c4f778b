"""The command line as its users call it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from reasonflow.cli.main import main


@pytest.fixture
def reasonflow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command with these words in this process; gives its exit code."""

    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["reasonflow", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return command
