"""What of a long page is read."""

from __future__ import annotations

from reasonflow.programs.excerpts import AROUND, KEPT, excerpt

FILLER = "Nothing of interest happens in this sentence at all. "


def test_a_short_page_is_read_whole() -> None:
    assert excerpt("short", "anything") == "short"


def test_of_a_long_page_the_surroundings_of_its_best_sentence() -> None:
    page = FILLER * 400 + "The mill of Ardle was built in 1702. " + FILLER * 400
    found = excerpt(page, "when was the mill of Ardle built")
    assert "built in 1702" in found
    assert len(found) <= 2 * AROUND + 60
    assert page.index(found) > KEPT


def test_without_a_sentence_that_fits_its_beginning() -> None:
    page = FILLER * 400
    assert excerpt(page, "zebra crossing") == page[:KEPT]


def test_what_stands_far_behind_is_not_looked_at() -> None:
    page = FILLER * 2_000 + "The mill of Ardle was built in 1702."
    assert excerpt(page, "when was the mill of Ardle built") == page[:KEPT]
