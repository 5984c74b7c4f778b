"""The suite `threads`: what ThreadWeaver adds to a model that is trained to write threads, and what it costs.

The problems are of the mix `graphmath:threads`, whose parts are each worth a thread; no training has seen these. The
ratio of token latencies is the published speed-up: the mean over problems of sequential over threaded token latency,
each of one sample here (ThreadWeaver, arXiv 2512.07843, section on metrics).
"""

from __future__ import annotations

from reasonflow.evals.benchmarks import load
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.contest import Contest
from reasonflow.evals.suites.findings import Findings, Goal
from reasonflow.evals.suites.suite import Setting, Suite
from reasonflow.evals.suites.weaving import PARTS, weave

TASK = "threads"
MAX_TOKENS = 1536
"""Of a call. Of the first thousand problems the longest right solution takes 852 of the built-in model's tokens,
and with threads, in one go, 931."""
GOALS = (
    Goal(figure="threaded_minus_sequential_threads", least=-0.02),
    Goal(figure="token_latency_ratio", least=1.8),
    Goal(figure="format_rate", least=0.98),
    Goal(figure="computed_over_ideal", most=1.05),
)
GPU_GOALS = (Goal(figure="wall_ratio", least=1.3),)


async def run(setting: Setting) -> Findings:
    """The table."""
    lm = setting.open(setting.model)
    contest = Contest(
        task=TASK,
        problems=load(f"graphmath:{TASK}", limit=setting.limit),
        max_tokens=MAX_TOKENS,
        goals=GOALS,
        gpu_goals=GPU_GOALS,
    )
    found = await weave(setting, lm, contest)
    await close(lm)
    return found


SUITE = Suite(name="threads", model="embedded", limit=1_000, run=run, parts=PARTS)
