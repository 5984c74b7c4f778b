"""What a run still has to write: by this the scheduler knows which program is nearest to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from reasonflow.plan.nodes import Call, Each, Fork, Generate, Loop, Op, Plan, Race, When, Within
from reasonflow.runtime.lengths import OutputLengths


class Workload:
    """The calls of one run that have not ended, by call site.

    It counts every branch and round there may be, so a run that needs fewer seems longer than it is, never shorter.
    """

    def __init__(self, program: str, plan: Plan) -> None:
        expected = expected_calls(plan)
        self._left = {f"{program}/{site}": calls for (site, _), calls in expected.items()}
        self._caps = {f"{program}/{site}": cap for site, cap in expected}
        self.over = False
        """The run has ended: nothing more of it will come."""

    def ended(self, site: str, samples: int = 1) -> None:
        """So many samples of a site have ended, however they did."""
        if site in self._left:
            self._left[site] = max(0, self._left[site] - samples)

    def tokens(self, lengths: OutputLengths) -> float:
        """Output tokens to come."""
        return sum(calls * lengths.expected(site, self._caps[site]) for site, calls in self._left.items() if calls)


@lru_cache(maxsize=256)
def expected_calls(plan: Plan) -> Mapping[tuple[str, int | None], int]:
    """Samples that each (call site, its own cap) of a plan can draw, without repetitions; a function counts as a site
    of the node's name.
    """
    found: Counter[tuple[str, int | None]] = Counter()
    for node in plan.nodes:
        found.update(_calls(node.op, node.name))
    return found


def _calls(op: Op, name: str) -> Mapping[tuple[str, int | None], int]:
    match op:
        case Generate(site=site, n=n):
            width = 1 if n is None or site.sampling.temperature == 0 else n
            return {(site.name, site.sampling.max_tokens): width}
        case Fork(n=times, body=body) | Each(cap=times, body=body) | Loop(max_rounds=times, body=body):
            return {site: calls * times for site, calls in expected_calls(body).items()}
        case Within(body=body):
            return expected_calls(body)
        case Race(bodies=bodies):
            return sum((Counter(expected_calls(body)) for body in bodies), Counter())
        case When(then=then, otherwise=otherwise):
            return max((expected_calls(then), expected_calls(otherwise)), key=lambda side: sum(side.values()))
        case Call(cap=cap) if cap:
            return {(name, None): cap}
        case _:
            return {}
