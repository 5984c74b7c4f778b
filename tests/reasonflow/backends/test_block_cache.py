from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends.block_cache import BlockCache

sequences = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=20).map(tuple), min_size=1, max_size=12)


@given(sequences, st.lists(st.integers(0, 1), min_size=1, max_size=20).map(tuple), st.integers(1, 4))
def test_hits_are_the_longest_prefix_shared_with_anything_seen(
    seen: list[tuple[int, ...]], asked: tuple[int, ...], size: int
) -> None:
    cache = BlockCache(size, capacity=1000)
    for tokens in seen:
        cache.add(tokens)
    usable = len(asked) - 1  # the last token is always computed
    expected = max(
        n
        for n in range(0, usable + 1, size)
        if n == 0 or any(len(tokens) // size * size >= n and tokens[:n] == asked[:n] for tokens in seen)
    )
    assert cache.hit_tokens(asked) == expected


@given(sequences, st.integers(1, 6))
def test_it_never_holds_more_than_its_capacity(seen: list[tuple[int, ...]], capacity: int) -> None:
    cache = BlockCache(2, capacity)
    for tokens in seen:
        cache.add(tokens)
        assert len(cache) <= capacity


def test_the_least_recently_used_goes_first_and_from_its_end() -> None:
    cache = BlockCache(1, capacity=4)
    cache.add((1, 2, 3))
    cache.add((7,))
    assert cache.hit_tokens((1, 2, 3, 0)) == 3
    cache.add((8,))  # full: the oldest chain loses its last block
    assert cache.hit_tokens((1, 2, 3, 0)) == 2
    assert cache.hit_tokens((7, 0)) == 1
