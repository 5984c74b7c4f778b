"""Which split a problem belongs to: decided by its shape, and by which template meets which name.

Train and test share no shape and no pair of template and name. The extrapolation split is larger than both; its
sentences are worded as in training, so that size alone is new there.
"""

from __future__ import annotations

import zlib
from typing import Literal, TypeAlias, get_args

from reasonflow.errors import UnknownName
from reasonflow.evals.tasks.shape import Shape

Split: TypeAlias = Literal["train", "test", "extrapolation"]
SPLITS: tuple[Split, ...] = get_args(Split)

WIDEST = 10
"""Parts of a problem that is not extrapolation, at most."""
DEEPEST = 12
"""Its longest chain, at most."""
_TEST_BITS = 3
"""One shape in 2 ** 3 is held out."""


def split_of(shape: Shape) -> Split:
    """The only split that holds problems of this shape."""
    if shape.width > WIDEST or shape.depth > DEEPEST:
        return "extrapolation"
    return split_of_hash(shape.hash)


def may_exceed(width: int, depth: int) -> bool:
    """Whether graphs of at most this size can be extrapolation."""
    return width > WIDEST or depth > DEEPEST


def split_of_hash(hash: int) -> Split:
    """For shapes whose size says nothing."""
    return "train" if hash >> (64 - _TEST_BITS) else "test"


def held_out(kind: str, name: str, templates: int) -> int:
    """Which of a kind's templates is kept for the test split when the sentence is about `name`: its index."""
    return zlib.crc32(f"{kind}/{name}".encode()) % templates


def checked(name: str) -> Split:
    """The split of this name. Raises UnknownName."""
    for split in SPLITS:
        if name == split:
            return split
    raise UnknownName.among("split", name, SPLITS)
