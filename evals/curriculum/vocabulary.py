"""The pieces that the small model reads and writes: bytes, signs, words, and markers that are one token each.

The order is the order of the token ids. It is frozen with the first trained weights: words are only ever added in the
place of spare ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reasonflow.evals.curriculum.instructions import DEMANDS, PARAPHRASES
from reasonflow.evals.tasks.lexicon import LEXICONS
from reasonflow.evals.tasks.wording import TEMPLATES

SIZE = 1920
SPARE = 64

END, TURN, END_OF_TURN, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CONTROLS = (PAD, END, TURN, END_OF_TURN)
"""Ids from 0. Data from outside must not contain them."""

_PAIRED = (
    "think Parallel Outlines Outline Thread Conclusion Goal Path drafts draft workspace verdict search "
    "documents document tools tool_call tool_response"
)
_SEARCH = ("search_queries", "search_results")
MARKERS = (
    *(form.format(name) for name in _PAIRED.split() for form in ("<{}>", "</{}>")),
    *(f"<|{edge}_{name}|>" for name in _SEARCH for edge in ("begin", "end")),
)
"""Structure that texts may show: one token each, kept when a text is decoded."""

OPERATORS = tuple(f" {sign} " for sign in ("+", "-", "*", "/", "%", "=", "<="))
_PIECES = ("\n\n", "\\boxed{", "## ", "### ", "[[ ## ", " ## ]]", " x", "...", '": "', "system", "user", "assistant")

PIECE = (
    r"\d|\\boxed\{|\[\[ ## | ## \]\]|#{1,6} | (?:[-+*/%=]|<=) |\n\n|\n"
    r"| ?[A-Za-z]+|\.\.\.|\": \"| ?[^\sA-Za-z\d]|\s"
)
"""What a text is cut into before its pieces are looked up; nothing joins over these edges."""

_UNTOLD = ("elsewhere",)
"""Kinds of sentences that are younger than the weights: they are made of words that were pieces before."""

_LATER = (
    "search query queries result results document documents passage passages source sources evidence fact facts "
    "question look lookup find found relevant information title text summary summarise next need needs missing "
    "unknown known tool tools call calls function functions name arguments argument response return returns "
    "calculator table row column value values type string integer number boolean required parameters properties "
    "description object array plan plans action actions observation observe thought finish final answer turn turns "
    "step steps user assistant system please today hello yes no true false none null and or not if then else when "
    "while until before after because so but since although first second third last again already also always any "
    "each every either neither both all some many few most more less least other another same different new old "
    "good bad right wrong large small high low long short early late before after between among about above below "
    "under over into from with without who what where which why how whose this that these those there here it its "
    "they them their we our you your he she his her is are was were be been being am do does did done have has had "
    "can could may might must shall should will would make makes made take takes took give gives gave get gets got "
    "go goes went come comes came see sees saw say says said know think thinks let put use uses used work works "
    "worked try tries tried keep show shows tell ask asks one two three four five six seven eight nine ten zero "
    "hundred thousand plus minus times divided equals sum difference product quotient remainder total half double "
    "twice average prime even odd positive negative percent day days week month year years hour hours minute "
    "minutes second seconds man woman child people person city country world water house home book books money time "
    "way thing things part parts place end start begin capital France Paris London Germany Berlin English name "
    "names list lists item items error errors input inputs output outputs code data model models program prompt "
    "message context branch branches score scores vote"
)
"""Words that later roles and common prompts need: searching, tools, planning, everyday English."""

_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic "
    "ne ea ra ce li ch ll"
)
"""Frequent letter pairs of English: a word that is no piece is cut into these and single letters."""

_DSPY = (
    "Your input fields are output fields All interactions will be structured in the following way with the appropriate "
    "values filled in In adhering to this structure your objective is Given the fields produce the Respond with the "
    "corresponding output fields starting with the field then and then ending with the marker for completed str int "
    "float bool list dict reasoning answer problem question drafts draft workspace solution candidate candidates score "
    "best flaws notes must formatted as a valid Python"
)


def pieces(texts: Iterable[str] = ()) -> list[str]:
    """Every piece that is no control, marker, byte or spare id, in order; `texts` are prompts whose words it needs."""
    found: dict[str, None] = {}
    for piece in (*"0123456789", *OPERATORS, *_PIECES):
        found[piece] = None
    for code in range(32, 127):
        found[chr(code)] = None
    found["\n"] = found["\t"] = None
    for lexicon in LEXICONS.values():
        for word in lexicon.firsts:
            found[word] = found[f" {word}"] = None
        for word in lexicon.seconds:
            found[f" {word}"] = None
    told = [template for kind, every in TEMPLATES.items() if kind not in _UNTOLD for template in every]
    told += [sentence for every in (*PARAPHRASES.values(), *DEMANDS.values()) for sentence in every]
    for text in (*told, *texts, _DSPY):
        for piece in re.findall(PIECE, re.sub(r"\{\d\}", " ", text)):
            found[piece] = None
            if piece.isalpha():
                found[f" {piece}"] = None
    for word in ("Yes", "No", "yes", "no", "holds", "fails", "rest"):
        found[word] = found[f" {word}"] = None
    for word in _LATER.split():
        found[f" {word}"] = None
    for pair in _PAIRS.split():
        found[pair] = None
    return list(found)
