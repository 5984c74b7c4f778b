"""The part `scaling` of the suite `speculation`: AsyncScaling against as many samples of the target alone.

The twin drafts, the measured model scores and takes over. Gates are calibrated on other problems of the mix.
"""

from __future__ import annotations

from reasonflow.evals.benchmarks import load
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings, Goal
from reasonflow.evals.suites.scaling_contest import Contest, hold
from reasonflow.evals.suites.suite import Setting

TASK = "graphmath:mid"
OTHERS = f"{TASK},seed=1"
"""What gates are calibrated on."""
INSTRUCTION = "Give a full solution of the problem. Be careful."
"""Without it the twin answers at once; it was trained to write its solutions so."""
N, TURNS, CHUNK = 8, 16, 48
MOST = 20
"""Problems, at most: the first ones."""
CALIBRATION, CALIBRATION_TURNS = 100, 6
"""Problems to calibrate on, and chunks of each at most: how a sample ends does not matter to a takeover."""
GATES = 4
"""One for each of the first turns, the last of them for all later ones."""
LEAST = 30
"""Samples of a gate: where fewer reach its turn, the gate before it is the last one."""
TAKEOVER = 0.4
"""Share of a turn's chunks that the target takes over: what the published 0.6 percentile comes to."""
GOALS = (
    Goal(figure="target_tokens_ratio", least=2.0),
    Goal(figure="scaling_minus_sampling_coverage", least=-0.02),
    Goal(figure="scaling_minus_sampling_majority", least=-0.02),
    Goal(figure="idle_share", most=0.02),
)


async def measure(setting: Setting) -> Findings:
    """Its rows, goals and figures."""
    twin, lm = setting.open(setting.small), setting.open(setting.model)
    contest = Contest(
        draft=twin,
        target=lm,
        problems=load(TASK, limit=min(setting.limit, MOST)),
        others=load(OTHERS, limit=CALIBRATION),
        instruction=INSTRUCTION,
        n=N,
        turns=TURNS,
        chunk=CHUNK,
        calibration_turns=CALIBRATION_TURNS,
        gates=GATES,
        least=LEAST,
        takeover=TAKEOVER,
        goals=GOALS,
    )
    try:
        return await hold(setting, contest)
    finally:
        await close(twin)
        await close(lm)
