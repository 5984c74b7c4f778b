"""How busy the engine of a run is, for functions that arrange their work by it."""

from __future__ import annotations

from reasonflow.runtime.ambient import ambient


def load() -> float:
    """Samples that the engine of this run has, and requests that wait for it, over the samples that it decodes at once.

    0 outside a run. For functions in `rf.call`. Calls of other programs on the same engine count, those of other
    processes do not.
    """
    inside = ambient().inside
    if inside is None:
        return 0.0
    runtime = inside.home
    return (runtime.scheduler.running + runtime.scheduler.waiting) / runtime.backend.max_running
