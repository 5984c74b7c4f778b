"""Programs and DSPy itself on a server that already runs, against a double of the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from tests.reasonflow.backends.openai_server import Fault, OpenAIServer, left, said


@pytest.fixture
def lm() -> Iterator[tuple[dspy.LM, OpenAIServer]]:
    def answer(prompt: str, seed: int | None, index: int) -> str:
        return rf"It is \boxed{{{25 if index != 1 else 24}}}."

    with OpenAIServer(answer=answer) as server:
        made = rf.openai("m", base_url=server.base_url, max_tokens=64)
        yield made, server
        made.engine.close()


def test_a_program_runs_on_it(lm: tuple[dspy.LM, OpenAIServer]) -> None:
    with dspy.context(lm=lm[0]):
        out = rf.SelfConsistency("problem -> answer", n=5)(problem="primes below 100?")
    assert (out.answer, out.run.usage.calls) == ("25", 5)
    assert len(lm[1].requests) == 1
    assert out.run.fingerprint["engine"] == "openai (vllm)"


def test_pictures_reach_a_server_and_are_refused_where_prompts_are_tokens(lm: tuple[dspy.LM, OpenAIServer]) -> None:
    picture = dspy.Image("data:image/png;base64,iVBORw0KGgo=")
    program = rf.ChainOfThought("picture: dspy.Image, question -> answer")
    with dspy.context(lm=lm[0]):
        assert program(picture=picture, question="How many?").answer == "25"
    parts = lm[1].requests[-1]["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    with_tokens = rf.openai("m", base_url=lm[1].base_url, tokenizer="embedded")
    with dspy.context(lm=with_tokens), pytest.raises(InputError, match="image_url"):
        program(picture=picture, question="How many?")
    with_tokens.engine.close()


def test_what_it_lacks_is_said_before_the_run_and_in_its_record(lm: tuple[dspy.LM, OpenAIServer]) -> None:
    with dspy.context(lm=lm[0]):
        program = rf.SelfConsistency("problem -> answer", n=2)
        assert "the engine lacks: token counts of cancelled plain requests" in str(program.explain())
        assert "token counts of prompts" in program(problem="primes below 100?").run.fingerprint["lacks"]
    with_tokens = rf.openai("m", base_url=lm[1].base_url, tokenizer="embedded")
    assert "token counts of prompts" not in with_tokens.engine.runtime.backend.fingerprint()["lacks"]
    with_tokens.engine.close()


def test_what_passes_by_itself_is_tried_again(lm: tuple[dspy.LM, OpenAIServer]) -> None:
    lm[1].faults.extend([Fault(status=503, body=said("busy")), Fault(body=b"x", breaks=True)])
    with dspy.context(lm=lm[0]):
        assert rf.ChainOfThought("problem -> answer")(problem="primes?").answer == "25"
    assert len(lm[1].requests) == 3


def test_dspy_streams_from_it(lm: tuple[dspy.LM, OpenAIServer]) -> None:
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("q"),))
    events = list(lm[0].engine.stream(request))
    assert "".join(event.delta.text for event in events if event.type == "delta") == r"It is \boxed{25}."
    assert events[-1].usage.output_tokens == lm[0].engine.complete(request).usage.output_tokens


def test_a_quorum_takes_its_losers_off_the_server() -> None:
    def answer(prompt: str, seed: int | None, index: int) -> str:
        return r"\boxed{25}" if index < 2 else "hm, " * 400

    class Quick(rf.Program):
        def __init__(self) -> None:
            self.solve = rf.Generate("problem -> answer")

        def plan(self, problem: Any) -> Any:
            return rf.answer(rf.quorum(self.solve(problem=problem, n=4), by="answer", need=2))

    with OpenAIServer(answer=answer, latency_s=20) as server:
        made = rf.openai("m", base_url=server.base_url, max_tokens=900)
        with dspy.context(lm=made):
            out = Quick()(problem="primes?")
        assert (out.answer, out.run.usage.cancelled_calls) == ("25", 2)
        assert left(server) == 1
        made.engine.close()
