"""Several engines in one run: draft, target and judge as the language models of call sites."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import BudgetExceeded


class Judged(rf.Program):
    """Drafts by a small model, a judgement by another, the last word by a third."""

    def __init__(self) -> None:
        self.draft = rf.Generate("problem -> answer")
        self.judge = rf.Generate("problem, drafts: list[str] -> verdict", style="text")
        self.target = rf.Generate("problem, verdict -> answer")

    def plan(self, problem: Any) -> Any:
        drafts = self.draft(problem=problem, n=3)
        verdict = self.judge(problem=problem, drafts=drafts)
        return rf.answer(self.target(problem=problem, verdict=verdict.text))


@pytest.fixture
def lms() -> Iterator[dict[str, dspy.LM]]:
    made = {
        "draft": rf.scripted("so \\boxed{1}", model="small", window=1024, dollars_per_hour=1.0),
        "judge": rf.scripted("the first", model="judge", window=4096, dollars_per_hour=2.0),
        "target": rf.scripted("so \\boxed{2}", model="large", window=2048, dollars_per_hour=3.0),
    }
    yield made
    for lm in made.values():
        lm.engine.close()


@pytest.fixture
def program(lms: dict[str, dspy.LM]) -> Judged:
    made = Judged()
    for name, lm in lms.items():
        getattr(made, name).lm = lm
    return made


def counted(lm: dspy.LM) -> tuple[int, int]:
    counters = asyncio.run(lm.engine.runtime.backend.counters())
    return counters.prompt_tokens, counters.output_tokens


def test_every_call_site_asks_its_own_engine(program: Judged, lms: dict[str, dspy.LM]) -> None:
    out = program(problem="p")
    assert out.answer == "2"
    for name, lm in lms.items():
        spans = [span for span in out.run.spans if span.node == name]
        assert counted(lm) == (sum(s.input_tokens for s in spans), sum(s.output_tokens for s in spans))


def test_the_record_names_them_all(program: Judged) -> None:
    run = program(problem="p").run
    assert run.fingerprint["model"] == "small"
    assert {site: found["model"] for site, found in run.engines.items()} == {"judge": "judge", "target": "large"}
    assert run.to_json()["engines"] == run.engines


def test_explain_says_who_answers_and_bounds_with_the_widest_window(program: Judged) -> None:
    explanation = program.explain()
    assert "engines: draft on 'small', judge on 'judge', target on 'large'" in str(explanation)
    assert explanation.window == 4096


def test_hours_of_all_engines_add_up(program: Judged) -> None:
    for name in ("draft", "judge", "target"):
        getattr(program, name).lm.engine.runtime.backend._latency = 0.3
    program.budget = rf.Budget(dollars=6.0 * 0.45 / 3600)  # time for one call and a half
    with pytest.raises(BudgetExceeded, match="money"):
        program(problem="p")


def test_a_budget_holds_over_all_of_them(program: Judged) -> None:
    program.budget = rf.Budget(total=1_500, calls=5)
    out = program(problem="p")
    assert out.run.complete
    assert out.run.usage.total_tokens <= 1_500
    program.budget = rf.Budget(calls=4)
    assert program(problem="p").run.squeezed
    program.budget = rf.Budget(calls=2)
    with pytest.raises(BudgetExceeded):
        program(problem="p")


def test_token_prices_of_each_engine_count() -> None:
    cheap, dear = rf.scripted("so \\boxed{1}", model="gpt-4o-mini"), rf.scripted("so \\boxed{2}", model="gpt-4o")
    program = Judged()
    program.draft.lm, program.judge.lm, program.target.lm = cheap, cheap, dear
    program.budget = rf.Budget(dollars=1.0)
    with rf.limit(dollars=1.0) as ledger:
        run = program(problem="p").run
    prices = {"draft": (0.15e-6, 0.6e-6), "judge": (0.15e-6, 0.6e-6), "target": (2.5e-6, 10e-6)}
    expected = sum(s.input_tokens * prices[s.node][0] + s.output_tokens * prices[s.node][1] for s in run.spans)
    assert ledger.spent.dollars == pytest.approx(expected)
    cheap.engine.close()
    dear.engine.close()


def test_cancelling_frees_every_engine(program: Judged, lms: dict[str, dspy.LM]) -> None:
    lms["judge"].engine.runtime.backend._latency = 30.0

    async def main() -> None:
        call = asyncio.create_task(program.acall(problem="p"))
        await asyncio.sleep(0.3)
        assert lms["judge"].engine.runtime.backend.running() == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert all(lm.engine.runtime.backend.running() == 0 for lm in lms.values())

    asyncio.run(main())
