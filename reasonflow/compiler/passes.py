"""The rewrites a plan goes through, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from reasonflow.compiler.deduplicate import deduplicate
from reasonflow.compiler.fuse_samples import fuse_samples
from reasonflow.compiler.prioritise import prioritise
from reasonflow.compiler.share_prefixes import share_prefixes
from reasonflow.compiler.stop_early import stop_early
from reasonflow.compiler.stream_joins import stream_joins
from reasonflow.plan.check import check
from reasonflow.plan.nodes import Plan

Pass = Callable[[Plan], Plan]

PASSES: tuple[Pass, ...] = (
    deduplicate,  # first: fewer nodes for everything after
    fuse_samples,  # a group of equal prompts is one request
    stop_early,  # after fusing: a group ends early as a fork does
    stream_joins,  # after stopping early: a list that ends with its only join has nothing to stream
    share_prefixes,  # after fusing: the samples of a group are one reader
    prioritise,  # last: needs the final graph
)


def lower(plan: Plan) -> Plan:
    """`plan` through all passes, checked after each. Equal plans are lowered once."""
    return _lowered(plan)


def stages(plan: Plan, passes: Sequence[Pass] = PASSES) -> list[tuple[str, Plan]]:
    """The plan as traced, and after each pass by name."""
    steps = [("traced", check(plan))]
    for rewrite in passes:
        plan = check(rewrite(plan), after=rewrite.__name__)
        steps.append((rewrite.__name__, plan))
    return steps


@lru_cache(maxsize=256)
def _lowered(plan: Plan) -> Plan:
    return stages(plan)[-1][1]
