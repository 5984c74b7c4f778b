"""Fixtures of the whole suite. The real engine is started once."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import dspy
import pytest
from hypothesis import settings

import reasonflow as rf

# A shell starts what runs in its background with Ctrl-C ignored, and processes inherit that: the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


gc.disable()  # until all tests are there: hardly anything of what importing them makes is garbage


def pytest_collection_finish() -> None:
    """The modules of all tests stay: to look through them takes most of what every collection of garbage takes."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def embedded_lm() -> Iterator[dspy.LM]:
    """The built-in model on a real vLLM engine, shared by every test that needs one.

    No test may depend on what it says: it knows one family of problems, and is trained again now and then.
    """
    # A model that has seen no JSON may write white space for ever wherever a schema allows some.
    written_tightly = {"backend": "xgrammar", "disable_any_whitespace": True}
    lm = rf.vllm("embedded", temperature=0.7, max_tokens=64, structured_outputs_config=written_tightly)
    yield lm
    lm.engine.close()
