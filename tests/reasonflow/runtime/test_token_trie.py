"""The token trie against a model of it, and what it foresees against what an engine finds."""

from __future__ import annotations

from contextlib import suppress

import dspy
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonflow as rf
from reasonflow.backends.block_cache import BlockCache
from reasonflow.runtime.record import Run
from reasonflow.runtime.token_trie import TokenTrie
from tests.laws.observing import watching
from tests.laws.random_engines import random_engine
from tests.laws.random_programs import Features, random_program

BLOCK = 4
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14).map(tuple)
"""Two tokens only, so that prompts share their beginnings."""


def full(tokens: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Its full blocks, each as all that stands up to its end."""
    return {tokens[: end + BLOCK] for end in range(0, len(tokens) - BLOCK + 1, BLOCK)}


@given(st.lists(PROMPTS, min_size=1, max_size=12), PROMPTS)
def test_whole_blocks_are_foreseen_and_never_the_last_token(
    before: list[tuple[int, ...]], prompt: tuple[int, ...]
) -> None:
    trie, cache = TokenTrie(BLOCK), BlockCache(BLOCK, 1000)
    for earlier in before:
        chain = trie.chain(earlier)
        trie.hold(chain)
        trie.drop(chain)
        cache.add(earlier)
    assert trie.known(trie.chain(prompt)) == cache.hit_tokens(prompt)
    present = set().union(*map(full, before))
    reach = sum(block in present for block in full(prompt))
    assert trie.known(trie.chain(prompt)) == min(reach, (len(prompt) - 1) // BLOCK) * BLOCK


@given(st.lists(st.tuples(st.sampled_from(["hold", "drop", "gone", "add"]), PROMPTS), max_size=40), st.integers(1, 8))
def test_what_is_held_stays_and_the_rest_keeps_to_the_capacity(
    steps: list[tuple[str, tuple[int, ...]]], room: int
) -> None:
    trie, held = TokenTrie(BLOCK, room), []
    for step, tokens in steps:
        chain = trie.chain(tokens)
        if step == "hold":
            fresh = len(full(tokens) - set().union(*map(full, held), set()))
            assert trie.fresh(chain) == fresh
            trie.hold(chain)
            held.append(tokens)
        elif step == "add" and tokens in held:
            trie.add(chain, (0, 1, 0, 1, 1))
        elif held and step != "add":
            trie.drop(trie.chain(held.pop()), computed=step == "drop")
        live = set().union(*map(full, held), set())
        assert trie.live == len(live)
        assert trie.live + len(trie._idle) <= max(room, trie.live)
        for each in held:
            assert trie.known(trie.chain(each)) == (len(each) - 1) // BLOCK * BLOCK


def test_what_was_never_computed_is_not_foreseen() -> None:
    trie = TokenTrie(BLOCK)
    short, long = trie.chain((1,) * 8), trie.chain((1,) * 16)
    trie.hold(short)
    trie.drop(short)
    trie.hold(long)
    trie.drop(long, computed=False)
    assert trie.known(long) == 8
    trie.hold(long)
    trie.hold(long)
    trie.drop(long, computed=True)
    trie.drop(long, computed=False)
    assert trie.known(long) == 12


def test_a_continuation_reads_what_was_written_but_for_its_last_token() -> None:
    trie = TokenTrie(BLOCK)
    prompt = trie.chain((1,) * 6)
    trie.hold(prompt)
    trie.add(prompt, (2, 2, 3))  # of the second block's last token the engine has no keys
    assert trie.known(trie.chain((1, 1, 1, 1, 1, 1, 2, 2, 3, 9))) == 8
    trie.add(prompt, (4, 4))
    assert trie.known(trie.chain((1, 1, 1, 1, 1, 1, 4, 4, 9))) == 4


def test_a_chain_is_forgotten_from_its_end() -> None:
    trie = TokenTrie(BLOCK, 3)
    for token in (1, 2):
        chain = trie.chain((token,) * 9)
        trie.hold(chain)
        trie.drop(chain)
    assert trie.known(trie.chain((1,) * 9)) == 4
    assert trie.known(trie.chain((2,) * 9)) == 8


def foreseen(run: Run) -> tuple[int, int]:
    """(planned, found) of all its samples: an engine may compute the second of two equal prompts first."""
    steps = [row for row in run.explain().figures.values() if row.foreseen]  # type: ignore[union-attr]
    return sum(row.planned_tokens for row in steps), sum(row.found_tokens for row in steps)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_planned_is_what_the_engine_finds_in_random_programs(seed: int) -> None:
    lm, _ = random_engine(seed)
    try:
        # How it ends is another law's affair.
        with dspy.context(lm=lm), watching() as seen, suppress(rf.ReasonFlowError, AdapterParseError):
            random_program(seed, Features(failures=False))(problem=f"How many {seed}?")
    finally:
        lm.engine.close()
    assert all(planned == found for planned, found in map(foreseen, seen.runs))


def test_a_later_step_reads_an_earlier_ones_prompt() -> None:
    with dspy.context(lm=rf.scripted("\\boxed{7}", latency=0.001)):
        run = rf.PDR(widths=(4, 2))(problem="How many? " * 420).run
    assert all(span.planned_tokens == span.cached_tokens for span in run.spans)
    assert sum(span.planned_tokens or 0 for span in run.spans) > 5000
    assert not any(row.shortfall for row in run.explain().figures.values())
