"""The names that quantities go by: a first and a second word each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random


class Lexicon:
    """Words whose pairs are names."""

    def __init__(self, firsts: str, seconds: str) -> None:
        self.firsts, self.seconds = tuple(firsts.split()), tuple(seconds.split())
        self.names = tuple(f"{first} {second}" for first in self.firsts for second in self.seconds)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self.names)

    def draw(self, random: Random) -> Iterator[str]:
        """Names in random order, each once. Ends when all are used."""
        names, size, draw = self.names, len(self.names), random.random
        used: set[int] = set()
        while len(used) < size:
            number = int(draw() * size)
            if number not in used:
                used.add(number)
                yield names[number]


LEXICONS: Mapping[str, Lexicon] = {
    "market": Lexicon(
        "red blue green white black grey brown pink small large round flat new old plain bright",
        "apples pears plums lemons onions carrots melons loaves cakes jars bowls plates cups spoons baskets sacks "
        "crates barrels candles ribbons buttons coats scarves hats gloves chairs tables lamps clocks bells kites "
        "drums",
    ),
    "harbour": Lexicon(
        "northern southern eastern western wooden iron rusty painted narrow wide quick slow quiet busy wet dry",
        "boats ferries barges anchors ropes nets sails masts oars buoys piers sheds cranes pumps chains hooks "
        "lanterns flags maps charts pilots sailors divers porters clerks gulls seals crabs oysters herrings "
        "planks nails",
    ),
    # Names without meaning: what is solved here was not learned from the world.
    "syllables": Lexicon(
        "ba de fi go ku la me ni po ru sa te vi wo zu ha",
        "bor dal fen gim hul jat kep lid mon nur pav quel ras sib tov vun wex yad zim brel cron drus flin grap "
        "klem plon skar snil stev trok twal zwin",
    ),
}
