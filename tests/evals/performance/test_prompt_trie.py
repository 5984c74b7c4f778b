from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.block_cache import BlockCache
from reasonflow.evals.performance.prompt_trie import Asked, ideal_computed

tokens = st.lists(st.integers(0, 1), min_size=1, max_size=16).map(tuple)
asked = st.lists(st.tuples(tokens, tokens), min_size=1, max_size=10)


def simulated(pairs: list[Asked], cache: BlockCache) -> int:
    computed = 0
    for prompt, output in pairs:
        computed += len(prompt) - cache.hit_tokens(prompt)
        cache.add(prompt)
        cache.add((*prompt, *output[:-1]))
    return computed


def common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Tokens in front that are equal."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


@given(asked, st.integers(1, 4))
def test_it_is_what_no_earlier_text_has_in_whole_blocks(pairs: list[Asked], block: int) -> None:
    computed, there = 0, []
    for prompt, output in sorted(pairs, key=lambda pair: len(pair[0])):
        shared = max((common(prompt[:-1], text) for text in there), default=0)
        computed += len(prompt) - shared // block * block
        there.append((*prompt, *output[:-1]))
    assert ideal_computed(pairs, block) == computed


@given(asked, st.integers(1, 4), st.integers(1, 20))
def test_no_smaller_cache_computes_less(pairs: list[Asked], block: int, capacity: int) -> None:
    in_order = sorted(pairs, key=lambda pair: len(pair[0]))
    assert ideal_computed(pairs, block) <= simulated(in_order, BlockCache(block, capacity))


@given(st.permutations(list(range(5))), st.lists(tokens, min_size=5, max_size=5), st.integers(1, 4))
def test_no_order_of_independent_prompts_computes_less(order: list[int], prompts: list, block: int) -> None:
    pairs = [(prompt, (0,)) for prompt in prompts]
    shuffled = [pairs[place] for place in order]
    assert ideal_computed(pairs, block) <= simulated(shuffled, BlockCache(block, capacity=10_000))


@given(asked, st.integers(1, 4))
def test_every_prompt_computes_its_last_token_and_none_more_than_all_of_it(pairs: list[Asked], block: int) -> None:
    assert len(pairs) <= ideal_computed(pairs, block) <= sum(len(prompt) for prompt, _ in pairs)


def test_whole_blocks_are_shared_and_a_continued_output_with_them() -> None:
    first, again = (1, 2, 3, 4, 5), (1, 2, 3, 4, 6)
    assert ideal_computed([(first, (0,)), (again, (0,))], 2) == 5 + 1
    continued = (*first, 7, 8, 9, 10)
    assert ideal_computed([(first, (7, 8, 9)), (continued, (0,))], 2) == 5 + 3  # the 9 was never computed
