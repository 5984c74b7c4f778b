"""What holds for all laws."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transient failure is tried again at once."""
    monkeypatch.setattr("reasonflow.runtime.faults.BACKOFF_S", 0.001)
