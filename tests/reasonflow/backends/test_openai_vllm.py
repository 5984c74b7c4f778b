"""Our client against vLLM's own server, with the built-in model on both sides."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15

import reasonflow as rf
from reasonflow.backends.embedded import folder_of
from reasonflow.backends.protocol import Completion, Piece, Prompt, Request, Sampling
from reasonflow.testing import BACKEND_LAWS

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(1200)]

_START_S = 420


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder_of("embedded")),
        "--served-model-name", "embedded", "--host", "127.0.0.1", "--port", str(port), "--block-size", "32",
        "--enable-prompt-tokens-details", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
        "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        # A model that has seen no JSON may write white space for ever wherever a schema allows some.
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
    ]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        assert server.poll() is None, f"the server ended: {log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"no server after {_START_S} s: {log.read_text()[-3000:]}")


@pytest.fixture(params=["messages", "token ids"])
def lm(url: str, request: pytest.FixtureRequest) -> Iterator[dspy.LM]:
    options = {"tokenizer": "embedded"} if request.param == "token ids" else {}
    made = rf.openai("embedded", base_url=url, max_tokens=64, **options)
    yield made
    made.engine.close()


@pytest.mark.parametrize("law", BACKEND_LAWS, ids=lambda law: law.__name__)
def test_it_keeps(law: Any, lm: dspy.LM) -> None:
    runtime = lm.engine.runtime
    runtime.run(lambda: law(lambda: runtime.backend))


def test_greedy_texts_are_those_of_our_own_engine(lm: dspy.LM, embedded_lm: dspy.LM) -> None:
    class Two(dspy.Module):
        def __init__(self) -> None:
            self.plan = dspy.ChainOfThought("question -> steps")
            self.write = dspy.Predict("question, steps -> answer")

        def forward(self, question: str) -> Any:
            return self.write(question=question, steps=self.plan(question=question).steps)

    def texts(over: dspy.LM) -> list[str]:
        greedy = over.copy(temperature=0.0, max_tokens=48)
        with dspy.context(lm=greedy, adapter=Plain()):
            Two()(question="Name a river of France and where it ends.")
        return [entry["outputs"][0] for entry in greedy.history]

    class Plain(dspy.ChatAdapter):
        """A model this small writes no fields: its whole text stands for each."""

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            return dict.fromkeys(signature.output_fields, completion)

    ours = texts(embedded_lm)
    assert len(ours) == 2
    assert texts(lm) == ours


def test_a_program_draws_the_same_greedy_answer(lm: dspy.LM, embedded_lm: dspy.LM) -> None:
    program = rf.PDR(widths=(2,), workspace_tokens=32, config={"max_tokens": 48, "temperature": 0.0})
    # One that the model knows: of a strange question its next tokens are nearly as likely as each other.
    problem = "There are 17 red apples. There are 25 more blue kites than red apples. How many blue kites are there?"
    found = []
    for over in (lm, embedded_lm):
        with dspy.context(lm=over):
            out = program(problem=problem)
        found.append((out.toDict(), out.run.usage.output_tokens))
    assert found[0] == found[1]


def test_what_a_cancelled_stream_wrote_is_told(url: str) -> None:
    lm = rf.openai("embedded", base_url=url)
    runtime = lm.engine.runtime
    prompt = Prompt(messages=({"role": "user", "content": "Tell a long story."},))
    request = Request(prompt=prompt, sampling=Sampling(max_tokens=4_000, ignore_eos=True), n=2, stream=True)
    ends: list[Completion] = []

    async def cancel() -> None:
        import anyio

        def observe(seen: Piece | tuple[int, Completion]) -> None:
            if not isinstance(seen, Piece):
                ends.append(seen[1])
            elif len(seen.text) and not ends:
                scope.cancel()

        with anyio.CancelScope() as scope:
            await runtime.generate(request, observe)

    runtime.run(cancel)
    assert [end.finish_reason for end in ends] == ["cancelled"] * 2
    assert any(end.output_tokens for end in ends)
    lm.engine.close()


def test_schemas_and_tools_that_must_be_called(lm: dspy.LM) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Lyon"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    message = lm15.Message.user("A city, as JSON.")
    form = lm15.Config(max_tokens=60, temperature=0.0, response_format={"type": "json_schema", "schema": schema})
    found = lm.engine.complete(lm15.Request(model=lm.model, messages=(message,), config=form))
    assert json.loads(found.text).keys() == {"city"}
    tool = lm15.FunctionTool(name="weather", parameters=schema)
    must = lm15.Config(max_tokens=80, temperature=0.0, tool_choice=lm15.ToolChoice(mode="required"))
    called = lm.engine.complete(lm15.Request(model=lm.model, messages=(message,), tools=(tool,), config=must))
    if lm.engine.runtime.backend.tokenizer is None:
        # What the server's own parser makes of it: a call, or a text where it was cut off.
        assert "weather" in called.text or called.tool_calls[0].name == "weather"
        return
    assert called.tool_calls[0].name == "weather"
    assert called.tool_calls[0].input.keys() == {"city"}


def test_the_command_line_evaluates_over_the_server(url: str, tmp_path: Path) -> None:
    words = ["eval", "pdr", "--model", "openai/embedded", "--engine", url, "--max-tokens", "48"]
    words += ["--set", "widths=2,2", "--set", "workspace_tokens=32"]
    command = [sys.executable, "-m", "reasonflow.cli", *words, "--limit", "2", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] == 2


@pytest.mark.parametrize("engine", ["lm15", "litellm"])
def test_hosted_engines_of_dspy_reach_it_too(url: str, engine: str) -> None:
    lm = dspy.LM("openai/embedded", api_base=url, api_key="none", engine=engine, cache=False, max_tokens=48)
    with dspy.context(lm=lm):
        out = rf.SelfConsistency(n=2)(problem="What is 17 + 25?")
    assert out.run.usage.calls == 2
    assert out.run.usage.output_tokens > 0
    assert "lacks" in out.run.fingerprint
