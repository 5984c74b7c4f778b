"""BM25 in a few lines: an independent judge of what a search of the corpus finds."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence

from reasonflow.programs.retrieval.passages import Passage

_WORD = re.compile(r"\w+")


class PlainBM25:
    """A retriever."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.found: dict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.lengths = [0] * len(passages)
        for place, passage in enumerate(passages):
            for word in _WORD.findall(f"{passage.title} {passage.text}".lower()):
                self.found[word][place] += 1
                self.lengths[place] += 1
        self.mean = sum(self.lengths) / len(passages)

    def best(self, query: str, k: int) -> list[Passage]:
        scores: defaultdict[int, float] = defaultdict(float)
        for word in _WORD.findall(query.lower()):
            places = self.found.get(word, {})
            if 3 * len(places) > len(self.passages):
                continue  # the word "house", in every passage
            rare = math.log(1 + (len(self.passages) - len(places) + 0.5) / (len(places) + 0.5))
            for place, times in places.items():
                scores[place] += rare * 2.2 * times / (times + 1.2 * (0.25 + 0.75 * self.lengths[place] / self.mean))
        return [self.passages[place] for place in sorted(scores, key=lambda place: -scores[place])[:k]]

    async def search(self, query: str, k: int) -> list[Passage]:
        return self.best(query, k)
