"""Both our engines keep the laws, and the laws can be broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import Any

import dspy
import pytest

from reasonflow.backends.protocol import Completion, Piece, Request, TokenLogprobs
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.testing import BACKEND_LAWS, CLOSING_LAWS, LawBroken, check_backend

TEXT = "Paris is the capital of France, and it has been for a long time. " * 20


def named(law: Any) -> str:
    return str(law.__name__)


@pytest.mark.parametrize("latency", [None, 0.05])
@pytest.mark.parametrize("law", [*BACKEND_LAWS, *CLOSING_LAWS], ids=named)
def test_the_scripted_engine_keeps(law: Any, latency: float | None) -> None:
    asyncio.run(law(lambda: ScriptedBackend([TEXT], latency=latency)))
    asyncio.run(law(lambda: ScriptedBackend(TEXT, latency=latency, max_running=2)))


@pytest.mark.engine
@pytest.mark.parametrize("law", BACKEND_LAWS, ids=named)
def test_the_vllm_engine_keeps(law: Any, embedded_lm: dspy.LM) -> None:
    runtime = embedded_lm.engine.runtime
    runtime.run(lambda: law(lambda: runtime.backend))


def test_all_laws_are_checked_in_one_call() -> None:
    made: list[ScriptedBackend] = []

    def make() -> ScriptedBackend:
        made.append(ScriptedBackend(TEXT, latency=0.02))
        return made[-1]

    asyncio.run(check_backend(make))
    assert len(made) == len(BACKEND_LAWS) + len(CLOSING_LAWS)
    one = ScriptedBackend(TEXT, latency=0.02)
    asyncio.run(check_backend(lambda: one, shared=True))
    assert asyncio.run(one.generate(Request(prompt=_prompt())))


def _prompt() -> Any:
    from reasonflow.backends.protocol import Prompt

    return Prompt(messages=({"role": "user", "content": "hi"},))


class Broken(ScriptedBackend):
    """Breaks the law it is named after."""

    def __init__(self, how: str) -> None:
        super().__init__([TEXT], latency=0.05)
        self.how = how

    async def generate(self, request: Request, observe: Any = None) -> tuple[Completion, ...]:
        told: Any = observe
        if self.how == "ends untold" or (self.how == "cancel untold" and request.sampling.ignore_eos):
            told = None
        if self.how == "told twice" and observe is not None:
            told = lambda item: (observe(item), observe(item))  # noqa: E731
        if self.how == "pieces missing" and observe is not None:
            told = lambda item: None if isinstance(item, Piece) else observe(item)  # noqa: E731
        if self.how == "stays running" and request.sampling.ignore_eos:
            self._running += 1
        if self.how == "no cap":
            request = replace(request, sampling=replace(request.sampling, max_tokens=None))
        if self.how == "no stop":
            request = replace(request, sampling=replace(request.sampling, stop=()))
        completions = await super().generate(request, told)
        if self.how == "unasked logprobs":
            return tuple(replace(c, logprobs=(TokenLogprobs("a", -1.0),) * c.output_tokens) for c in completions)
        if self.how == "miscounts":
            return tuple(replace(completion, output_tokens=completion.output_tokens + 1) for completion in completions)
        return completions

    @property
    def capabilities(self) -> Any:
        can = super().capabilities
        if self.how == "unasked logprobs":
            return replace(can, top_logprobs=5)
        return replace(can, json_schema=True) if self.how == "no schema" else can

    async def score(self, prompt: Any, continuation: Any) -> tuple[float, ...]:
        scores = await super().score(prompt, continuation)
        return scores[1:] if self.how == "short score" else scores

    async def aclose(self) -> None:
        if self.how != "never closes":
            await super().aclose()


@pytest.mark.parametrize(
    ("how", "law"),
    [
        ("ends untold", "samples_come_in_order"),
        ("told twice", "samples_come_in_order"),
        ("pieces missing", "pieces_add_up"),
        ("no cap", "caps_are_kept"),
        ("no stop", "a_stop_string"),
        ("cancel untold", "cancelling_leaves"),
        ("stays running", "cancelling_leaves"),
        ("miscounts", "counters_are_the_sums"),
        ("short score", "a_score_has"),
        ("unasked logprobs", "log_probabilities"),
        ("no schema", "a_text_follows"),
        ("never closes", "a_closed_engine"),
    ],
)
def test_a_broken_law_is_named(how: str, law: str) -> None:
    (broken,) = [each for each in (*BACKEND_LAWS, *CLOSING_LAWS) if named(each).startswith(law)]
    with pytest.raises(LawBroken, match=f"^{law}") as caught:
        asyncio.run(broken(lambda: Broken(how)))
    assert "seen: " in str(caught.value)


def test_the_laws_need_no_test_framework() -> None:
    script = "import sys, reasonflow.testing; print(*{'pytest', 'hypothesis', '_pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
