"""What threads save, in tokens: latency, acceleration and its reward (ThreadWeaver, arXiv 2512.07843).

The token latency of a trajectory is the tokens that must be written one after the other: those outside of blocks, those
of a block outside of its threads, and its longest thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from reasonflow.errors import InputError
from reasonflow.programs.trajectories import Block, Part, Trajectory

RewardForm: TypeAlias = Literal["paper", "code"]
RHO = 0.5
"""Weight of the acceleration ratio in the reward."""
CLIP = 0.2


@dataclass(frozen=True, slots=True)
class TokenCost:
    """Of a trajectory or of a part of it."""

    longest: int
    """Those that follow each other: the token latency."""
    total: int

    def __add__(self, other: TokenCost) -> TokenCost:
        return TokenCost(self.longest + other.longest, self.total + other.total)

    @property
    def acceleration(self) -> float:
        """The share of the tokens that need not be waited for, 0 to 1; 0 where there are none."""
        return 1 - self.longest / self.total if self.total else 0.0

    @property
    def self_parallelism(self) -> float:
        """Tokens per token of latency, 1 and more. No measure of what is gained over a sequential model."""
        return self.total / self.longest if self.longest else 1.0


def sequential(count: int) -> TokenCost:
    """Tokens written one after the other."""
    return TokenCost(count, count)


def side_by_side(threads: Iterable[TokenCost]) -> TokenCost:
    """Threads written at once."""
    each = tuple(threads)
    return TokenCost(max((tokens.longest for tokens in each), default=0), sum(tokens.total for tokens in each))


def cost(trajectory: Trajectory, count: Callable[[str], int]) -> TokenCost:
    """What a trajectory takes. count: tokens of a piece of its text.

    As the released code counts: the tags of a block and of its threads, its outlines and its conclusion are written in
    sequence; a thread is what stands between its tags, with its number.
    """
    return _of_span(trajectory.text, 0, len(trajectory.text), trajectory.parts, count)


def _of_span(text: str, start: int, end: int, parts: Sequence[Part], count: Callable[[str], int]) -> TokenCost:
    """Of that part of the text, in which the blocks among the parts stand."""
    spent = TokenCost(0, 0)
    for block in (part for part in parts if isinstance(part, Block)):
        spent += sequential(count(text[start : block.start])) + _of_block(text, block, count)
        start = block.end
    return spent + sequential(count(text[start:end]))


def _of_block(text: str, block: Block, count: Callable[[str], int]) -> TokenCost:
    around, at, threads = TokenCost(0, 0), block.start, []
    for thread in block.threads:
        around += sequential(count(text[at : thread.start]))
        threads.append(_of_span(text, thread.start, thread.end, thread.parts, count))
        at = thread.end
    return around + sequential(count(text[at : block.end])) + side_by_side(threads)


def reward(
    *, correct: bool, acceleration: float, form: RewardForm = "code", rho: float = RHO, clip: float = CLIP
) -> float:
    """P-GRPO's reward of a trajectory: 1 for a right answer, and a bonus for its acceleration ratio.

    form: the paper cuts the weighted ratio, min(rho * ratio, clip); its code cuts the ratio itself, rho * min(ratio,
    clip). A wrong answer earns nothing. Raises InputError for a ratio outside of 0 to 1.
    """
    if not 0 <= acceleration <= 1:
        raise InputError(f"an acceleration ratio of {acceleration}", why="it is a share", fix="give 0 to 1")
    if not correct:
        return 0.0
    match form:
        case "paper":
            return 1 + min(rho * acceleration, clip)
        case "code":
            return 1 + rho * min(acceleration, clip)
        case _:
            assert_never(form)


def advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """Of the rollouts of one problem: each reward less their mean, not divided by their deviation (P-GRPO).

    Where all rollouts are right only the bonus differs, and a division would make that small difference all there is.
    """
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    return tuple(each - mean for each in rewards)
