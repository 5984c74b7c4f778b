"""Fixtures of the whole suite. The real engine is started once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import dspy
import pytest

import reasonflow as rf

# A shell starts what runs in its background with Ctrl-C ignored, and processes inherit that: the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def embedded_lm() -> Iterator[dspy.LM]:
    """The embedded model on a real vLLM engine, shared by every test that needs one."""
    lm = rf.vllm("embedded", temperature=0.7, max_tokens=64)
    yield lm
    lm.engine.close()
