"""Sequential tokens are what an engine that takes one second a token and has room for all needs in seconds."""

from __future__ import annotations

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.clock import VirtualClock
from reasonflow.backends.protocol import Request
from tests.laws.observing import Outcome, outcome
from tests.laws.random_engines import Answers
from tests.laws.random_programs import Features, random_program

EXAMPLES = 100
MANY = 2_000


def timed(seed: int, program: rf.Program, sequential: int | None) -> tuple[Outcome, float]:
    """How one run ends, and the virtual seconds it took on an engine whose clock counts tokens."""
    answers, clock = Answers(seed), VirtualClock()

    def tokens(request: Request, index: int) -> float:
        prompt = request.prompt.tokens
        assert prompt is not None
        engine = lm.engine.runtime.backend
        chat = "\n\n".join(str(message["content"]) for message in request.prompt.messages)
        text = answers(chat, (request.sampling.seed or 0) + index, index)
        room = min(engine.window - len(prompt), request.sampling.max_tokens or engine.window)
        return float(len(prompt) + min(len(engine.tokenizer.encode(text)) + 1, room))

    lm = rf.scripted(answers, latency=tokens, clock=clock, max_running=1_000)
    program.budget = rf.Budget(sequential=sequential) if sequential is not None else None
    try:
        with dspy.context(lm=lm):
            found = lm.engine.runtime.run(lambda: outcome(program, problem="How many?"))
    finally:
        lm.engine.close()
    return found, clock.now()


def disagreements(seeds: range) -> list[str]:
    """Runs whose sequential tokens are not the seconds they took, with and without a sequential budget."""
    plain = Features(races=False, budgets=False, failures=False, effects=False, threads=False)
    found: list[str] = []
    for seed in seeds:
        free, seconds = timed(seed, random_program(seed, plain), None)
        if free.run is not None and all_went_well(free) and seconds != free.run.sequential_tokens:
            found.append(f"{seed}: {free.run.sequential_tokens} sequential tokens, {seconds:.0f} s")
        limit = max(60, int(seconds) * 2 // 3)
        cut, seconds = timed(seed, random_program(seed, plain), limit)
        if seconds > limit and cut.run is not None:
            found.append(f"{seed}: {seconds:.0f} s under a budget of {limit} sequential tokens")
    return found


def all_went_well(found: Outcome) -> bool:
    """Whether no sample had to be asked for again, and no branch failed: waiting for those is no path of calls."""
    return (
        found.error is None
        and found.run is not None
        and not found.run.failures
        and not any(span.outcome == "failed" for span in found.run.spans)
    )


def test_laws_sequential_tokens_are_the_longest_path_as_it_was_run() -> None:
    assert disagreements(range(EXAMPLES)) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_laws_sequential_tokens_of_two_thousand_random_plans(capsys: pytest.CaptureFixture[str]) -> None:
    found = disagreements(range(MANY))
    with capsys.disabled():
        print(f"\n{MANY:,} random plans, each free and under a sequential budget: {len(found)} disagree")
    assert found == []
