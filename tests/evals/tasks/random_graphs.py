"""Any knobs of dependency graphs, for laws that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from reasonflow.evals.tasks.knobs import Knobs

seeds = st.integers(0, 2**32)


@st.composite
def knobs(draw: st.DrawFn) -> Knobs:
    def span(least: int, most: int) -> tuple[int, int]:
        low = draw(st.integers(least, most))
        return low, draw(st.integers(low, most))

    return Knobs(
        width=span(1, 7),
        depth=span(1, 7),
        distractors=span(0, 4),
        largest=draw(st.sampled_from((9, 99, 999))),
        branching=draw(st.floats(0, 1)),
        sharing=draw(st.floats(0, 1)),
    )
