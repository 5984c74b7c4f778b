"""The names that quantities go by: a first and a second word each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from reasonflow.evals.tasks.chance import shuffle


class Lexicon:
    """Words whose pairs are names: as many first words as second ones."""

    def __init__(self, firsts: str, seconds: str) -> None:
        self.firsts, self.seconds = tuple(firsts.split()), tuple(seconds.split())
        self.names = tuple(f"{first} {second}" for first in self.firsts for second in self.seconds)

    def draw(self, random: Random, words: int) -> Iterator[str]:
        """Names in random order, each once, made of so many first and second words. Ends when all are used.

        Names share no word until all words are used: among so many names one word tells which is meant, among more of
        them only both words do.
        """
        firsts, seconds = list(self.firsts), list(self.seconds)
        shuffle(random, firsts)
        shuffle(random, seconds)
        for shift in range(words):
            for place in range(words):
                yield f"{firsts[place]} {seconds[(place + shift) % words]}"


WORDS = 64
"""First words of a lexicon, and second ones."""
LEXICONS: Mapping[str, Lexicon] = {
    "market": Lexicon(
        "red blue green white black grey brown pink small large round flat new old plain bright golden silver "
        "purple orange yellow crimson woven heavy light soft hard thick thin tall fresh sweet sour ripe dried "
        "smooth rough shiny dusty striped spotted square oval curved folded polished simple fancy cheap costly "
        "rare common clean worn sturdy fragile broken mended warm cold tiny huge pale dark",
        "apples pears plums lemons onions carrots melons loaves cakes jars bowls plates cups spoons baskets sacks "
        "crates barrels candles ribbons buttons coats scarves hats gloves chairs tables lamps clocks bells kites "
        "drums grapes figs cherries peaches turnips beans eggs cheeses pies tarts forks knives pots pans kettles "
        "bottles boxes bags brooms brushes mirrors blankets pillows rugs shirts boots socks belts rings dolls "
        "flutes books",
    ),
    "harbour": Lexicon(
        "northern southern eastern western wooden iron rusty painted narrow wide quick slow quiet busy wet dry "
        "salty foggy windy stormy sunken floating drifting anchored tarred patched coiled knotted frayed tangled "
        "spare hidden lost stolen borrowed rented foreign royal distant nearby upper lower inner outer deep "
        "shallow steep sandy rocky muddy mossy icy brass copper steel tin stone canvas leather loose tight hollow "
        "massive slender",
        "boats ferries barges anchors ropes nets sails masts oars buoys piers sheds cranes pumps chains hooks "
        "lanterns flags maps charts pilots sailors divers porters clerks gulls seals crabs oysters herrings "
        "planks nails rafts canoes tugs yachts rudders keels decks cabins hatches ladders pulleys winches "
        "whistles horns compasses lighthouses docks bridges gates towers captains cooks merchants guards fishers "
        "eels lobsters mussels squids whales pelicans turtles",
    ),
    # Names without meaning: what is solved here was not learned from the world.
    "syllables": Lexicon(
        "ba de fi go ku la me ni po ru sa te vi wo zu ha bi da fe gu ka lo mu na pe ri se ta vu wa ze hu bo di fa "
        "ge ki lu mo ne pa ro su ti ve wi zo hi bu du fo gi ke le mi nu pi ra si tu va we za ho",
        "bor dal fen gim hul jat kep lid mon nur pav quel ras sib tov vun wex yad zim brel cron drus flin grap "
        "klem plon skar snil stev trok twal zwin bax cef dob fip gorn hask jeb kulm lorp misk navt olb perd rulk "
        "sorv tamp urd velk worf yelt zand blof crend drimp flot glev krun plisk prast smul spond strev",
    ),
}
