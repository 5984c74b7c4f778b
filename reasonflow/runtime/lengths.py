"""How much samples of a call site write, learned while they do: what a request will need is told by those before it."""

from __future__ import annotations

from collections import OrderedDict

FIRST_GUESS = 512
"""Tokens expected of a site that has written nothing yet, or its cap if that is less. Caps are often the whole window:
counted in full, a handful of first requests would fill the KV cache and leave the engine's slots empty."""
_MEMORY = 256
"""Samples a mean remembers: a site whose inputs change is known anew soon."""
_SITES = 4096
"""Sites remembered, the last ones used."""


class OutputLengths:
    """Mean output tokens of each site on one engine. One loop's object: not thread-safe."""

    def __init__(self) -> None:
        self._means: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def expected(self, site: str, cap: int | None = None) -> float:
        """Tokens a sample of the site will write; at most `cap`."""
        found = self._means.get(site)
        mean = FIRST_GUESS if found is None else found[1]
        return mean if cap is None else min(mean, cap)

    def ended(self, site: str, tokens: int) -> None:
        """A sample has come to its end by itself."""
        count, mean = self._means.pop(site, (0, 0.0))
        count = min(count + 1, _MEMORY)
        self._means[site] = (count, mean + (tokens - mean) / count)
        if len(self._means) > _SITES:
            self._means.popitem(last=False)
