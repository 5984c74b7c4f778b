"""The suite `search`: what several queries a turn save a model that is trained to search.

The problems are of the mix `graphmath:search`: numbers are missing from their texts, and stand in a corpus of 50,000
passages that look alike. Some can be looked up at once, others only after another one. No training has seen these.
"""

from __future__ import annotations

from reasonflow.evals.benchmarks import load
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings, Goal
from reasonflow.evals.suites.searched import PARTS, Hunt, measure
from reasonflow.evals.suites.suite import Setting, Suite
from reasonflow.evals.tasks.corpus import corpus
from reasonflow.evals.tasks.problems import parse_source
from reasonflow.programs.retrieval.bm25 import BM25

TASK = "search"
PASSAGES = 50_000
MAX_TOKENS = 768
"""Of a call: no solution of these problems is longer."""
GOALS = (
    Goal(figure="turns_ratio", most=0.6),
    Goal(figure="parallel_minus_sequential_search", least=-0.02),
)


async def run(setting: Setting) -> Findings:
    """The table."""
    source = parse_source(f"graphmath:{TASK},split=test")
    passages = corpus(source, problems=setting.limit, passages=PASSAGES)
    lm = setting.open(setting.model)
    hunt = Hunt(
        task=TASK,
        problems=load(f"graphmath:{TASK}", limit=setting.limit),
        index=BM25.of(passages, setting.out / "index"),
        max_tokens=MAX_TOKENS,
        shown="own",
        goals=GOALS,
    )
    found = await measure(setting, lm, hunt)
    await close(lm)
    return found


SUITE = Suite(name="search", model="embedded", limit=500, run=run, parts=PARTS)
