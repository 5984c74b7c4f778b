"""The text of a threaded trajectory, read into its blocks: whatever the model wrote, and with every repair told.

A trajectory is sequential text with blocks in it. A block names its threads in outlines, then has them one by one, each
under the number of its outline (ThreadWeaver, arXiv 2512.07843; Multiverse, arXiv 2506.09991).
Models close tags too early, too late or never: 28 % of the published model's trajectories are malformed. So nothing is
refused here unless it is asked for, and no character of the text is lost: parts and blocks together are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from reasonflow.errors import ProgramError

_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9}){0,9})\s*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a model spells a block."""

    name: str
    plan: str
    """The tag around all outlines."""
    thread: str
    depth: int = 1
    """Blocks inside each other, at most: deeper ones are text."""

    def tag(self, kind: Kind) -> str:
        """The word inside the tag of that part."""
        return {"plan": self.plan, "thread": self.thread}.get(kind, kind.capitalize())


Kind: TypeAlias = Literal["parallel", "plan", "outline", "thread", "conclusion"]
_KINDS: tuple[Kind, ...] = get_args(Kind)

THREADWEAVER = Dialect(name="threadweaver", plan="Outlines", thread="Thread")
MULTIVERSE = Dialect(name="multiverse", plan="Goal", thread="Path", depth=5)


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was not as the format has it, and what was made of it."""

    at: int
    """Where in the text, in characters."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The plan of one thread."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One thread of a block."""

    id: str
    parts: tuple[Part, ...]
    """Its text behind the number, with the blocks that stand in it."""
    start: int
    """Where its content begins, with its number; in characters of the whole text."""
    end: int
    closed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A parallel block."""

    outlines: tuple[Outline, ...]
    threads: tuple[Thread, ...]
    conclusion: str | None
    start: int
    """Where its first tag begins; in characters of the whole text."""
    end: int
    closed: bool = True


Part: TypeAlias = "str | Block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A whole text: its sequential parts and its blocks, in their order."""

    text: str
    parts: tuple[Part, ...]
    repairs: tuple[Repair, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Those that stand in no other."""
        return tuple(part for part in self.parts if isinstance(part, Block))

    @property
    def well_formed(self) -> bool:
        """Whether nothing had to be repaired."""
        return not self.repairs

    @property
    def sequential(self) -> str:
        """The text outside of all blocks."""
        return "".join(part for part in self.parts if isinstance(part, str))


def parse(text: str, dialect: Dialect = THREADWEAVER, *, strict: bool = False) -> Trajectory:
    """Read a text. Never raises but where `strict` is asked for; time is linear in the text.

    Raises ProgramError for a text that is not well formed, where `strict`.
    """
    trajectory = _Reader(text, dialect).read()
    if strict and trajectory.repairs:
        first = trajectory.repairs[0]
        raise ProgramError(
            f"the trajectory is malformed in {len(trajectory.repairs)} places",
            why=f"at character {first.at}: {first.what}",
            fix="read it without strict=True: each repair is told then",
        )
    return trajectory


def planned(text: str, dialect: Dialect = THREADWEAVER) -> tuple[tuple[Outline, ...], tuple[Repair, ...]]:
    """The outlines of the block that is open at the end of a text, and what had to be repaired in them.

    None where no block is open, or one that has threads already: the rule of the released state machine, which takes
    what follows the last tag of outlines, drops those without a number, and of equal numbers keeps the first.
    """
    trajectory = _Reader(text, dialect).read(open_end=True)
    part: Part = trajectory.parts[-1] if trajectory.parts else ""
    while isinstance(part, Block) and part.threads and not part.threads[-1].closed:
        part = part.threads[-1].parts[-1] if part.threads[-1].parts else ""
    if not isinstance(part, Block) or part.closed or part.threads:
        return (), ()
    return part.outlines, tuple(repair for repair in trajectory.repairs if repair.at >= part.start)


_AROUND: dict[Kind | None, tuple[Kind, ...]] = {
    "outline": ("plan", "parallel"),
    "plan": ("parallel",),
    "conclusion": ("parallel",),
}
"""What may close a part that has not been closed itself."""


@dataclass(slots=True)
class _Frame:
    """A tag that is open."""

    kind: Kind | None
    """None: the whole text."""
    opened: int
    """Where its tag begins."""
    start: int
    """Where its content begins."""
    parts: list[Part] = field(default_factory=list)
    """Of the whole text, or of a thread."""
    read: int = 0
    """Up to where the parts go."""
    outlines: dict[str, Outline] = field(default_factory=dict)
    threads: list[Thread] = field(default_factory=list)
    had: set[str] = field(default_factory=set)
    """Numbers of the threads."""
    conclusion: str | None = None


class _Reader:
    """One pass over the tags of a text, with the open ones on a stack."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text, self._dialect = text, dialect
        self._repairs: list[Repair] = []
        self._stack = [_Frame(None, 0, 0)]
        words = {dialect.tag(kind): kind for kind in _KINDS}
        tags = re.compile(f"<(/?)({'|'.join(words)})>").finditer(text)
        self._tags = [(tag.start(), tag.end(), words[tag[2]], bool(tag[1])) for tag in tags]
        ends = [start for start, _, kind, closes in self._tags if kind == "thread" and closes]
        self._last_thread_end = ends[-1] if ends else -1

    def read(self, *, open_end: bool = False) -> Trajectory:
        """open_end: the text may end inside of a block."""
        for start, end, kind, closes in self._tags:
            if closes:
                self._close(kind, start, end)
            else:
                self._open(kind, start, end)
        length = len(self._text)
        while len(self._stack) > 1:
            if not open_end:
                self._repair(self._stack[-1].opened, f"{self._spell(self._stack[-1].kind)} is not closed")
            self._pop(length, length, closed=False)
        root = self._stack[0]
        self._text_until(root, length)
        repairs = sorted(self._repairs, key=lambda repair: repair.at)
        return Trajectory(text=self._text, parts=tuple(root.parts), repairs=tuple(repairs))

    # Tags -----------------------------------------------------------------------------------------------------------

    def _open(self, kind: Kind, start: int, end: int) -> None:
        frame = self._stack[-1]
        match frame.kind, kind:
            case None, "parallel":
                self._push(kind, start, end)
            case None, "plan" | "thread":
                self._repair(start, f"{self._spell(kind)} begins outside of a block: one is begun with it")
                self._push("parallel", start, start)
                self._push(kind, start, end)
            case "thread", "parallel" if self._deep() < self._dialect.depth:
                self._push(kind, start, end)
            case "thread", "thread" if self._announced(end):
                self._repair(start, f"{self._spell(kind)} begins inside another, which is closed")
                self._pop(start, start, closed=False)
                self._push(kind, start, end)
            case "parallel", "plan" | "thread" | "conclusion":
                if kind == "plan" and frame.outlines:
                    self._repair(start, f"a second {self._spell(kind)}: its outlines are added")
                self._push(kind, start, end)
            case "parallel", "outline":
                self._repair(start, f"{self._spell(kind)} begins outside of {self._spell('plan')}")
                self._push("plan", start, start)
                self._push(kind, start, end)
            case "plan", "outline":
                self._push(kind, start, end)
            case ("outline", "outline" | "thread" | "conclusion") | ("plan", "thread" | "conclusion"):
                self._repair(start, f"{self._spell(frame.kind)} is not closed before {self._spell(kind)}")
                self._pop(start, start, closed=False)
                self._open(kind, start, end)
            case _:
                self._literal(kind, start)

    def _close(self, kind: Kind, start: int, end: int) -> None:
        inside = self._stack[-1].kind
        around = _AROUND.get(inside, ())
        if inside == kind:
            self._pop(start, end)
        elif kind in around or (inside == "thread" and kind == "parallel" and start > self._last_thread_end):
            # In a thread the tag is text as long as a thread's end follows (the released rule); else nothing closes it.
            self._repair(start, f"{self._spell(inside)} is not closed before {self._spell(kind, closes=True)}")
            self._pop(start, start, closed=False)
            self._close(kind, start, end)
        else:
            self._literal(kind, start, closes=True)

    def _literal(self, kind: Kind, at: int, *, closes: bool = False) -> None:
        self._repair(at, f"{self._spell(kind, closes=closes)} does not belong here: it is text")

    def _deep(self) -> int:
        return sum(frame.kind == "parallel" for frame in self._stack)

    def _announced(self, end: int) -> bool:
        """Whether a thread begins here that its block has an outline for, and has not had yet."""
        number, block = _NUMBER.match(self._text, end), self._stack[-2]
        if number is None or number[1] not in block.outlines or number[1] in block.had:
            return False
        mine = _NUMBER.match(self._text, self._stack[-1].start)
        return mine is None or mine[1] != number[1]

    # The stack ------------------------------------------------------------------------------------------------------

    def _push(self, kind: Kind, opened: int, start: int) -> None:
        if kind == "parallel":
            self._text_until(self._stack[-1], opened)
        self._stack.append(_Frame(kind, opened, start, read=start))

    def _pop(self, end: int, after: int, *, closed: bool = True) -> None:
        """end: of the content. after: where what follows it begins."""
        frame = self._stack.pop()
        around, content = self._stack[-1], self._text[frame.start : end]
        match frame.kind:
            case "parallel":
                around.parts.append(self._block(frame, after, closed=closed))
                around.read = after
            case "outline":
                self._add_outline(frame, content, self._stack[-2].outlines)
            case "plan":
                if not around.outlines:
                    self._repair(frame.opened, f"{self._spell('plan')} has no outline with a number")
            case "conclusion":
                if around.conclusion is not None:
                    self._repair(frame.opened, f"a second {self._spell('conclusion')}: the last one counts")
                around.conclusion = content.strip()
            case "thread":
                self._text_until(frame, end)
                around.threads.append(self._thread(frame, around, end, closed=closed))

    def _text_until(self, frame: _Frame, end: int) -> None:
        if end > frame.read:
            frame.parts.append(self._text[frame.read : end])
        frame.read = end

    def _add_outline(self, frame: _Frame, content: str, known: dict[str, Outline]) -> None:
        number = _NUMBER.match(content)
        if number is None:
            self._repair(frame.opened, "an outline without a number is dropped")
        elif number[1] in known:
            self._repair(frame.opened, f"a second outline {number[1]} is dropped")
        else:
            known[number[1]] = Outline(id=number[1], text=content[number.end() :].strip())

    def _thread(self, frame: _Frame, block: _Frame, end: int, *, closed: bool) -> Thread:
        number = _NUMBER.match(self._text, frame.start, end)
        if number is None:
            id = _unused(block.had)
            self._repair(frame.opened, f"a thread without a number is taken for {id}")
            parts = tuple(frame.parts)
        else:
            id, parts = number[1], _behind(frame.parts, number.end() - frame.start)
            if id in block.had:
                self._repair(frame.opened, f"a second thread {id}")
        block.had.add(id)
        return Thread(id=id, parts=parts, start=frame.start, end=end, closed=closed)

    def _block(self, frame: _Frame, end: int, *, closed: bool) -> Block:
        if closed or frame.threads:
            for id in frame.outlines:
                if id not in frame.had:
                    self._repair(frame.opened, f"outline {id} has no thread")
            for id in sorted(frame.had):
                if id not in frame.outlines:
                    self._repair(frame.opened, f"thread {id} has no outline")
            if not frame.outlines and not frame.threads:
                self._repair(frame.opened, "a block without threads")
        return Block(
            outlines=tuple(frame.outlines.values()),
            threads=tuple(frame.threads),
            conclusion=frame.conclusion,
            start=frame.opened,
            end=end,
            closed=closed,
        )

    def _repair(self, at: int, what: str) -> None:
        self._repairs.append(Repair(at, what))

    def _spell(self, kind: Kind | None, *, closes: bool = False) -> str:
        assert kind is not None, "the whole text has no tag"
        return f"<{'/' if closes else ''}{self._dialect.tag(kind)}>"


def _behind(parts: Iterable[Part], characters: int) -> tuple[Part, ...]:
    """The parts without so many characters of the first, which is text."""
    first, *others = parts
    assert isinstance(first, str), "a number is text"
    return tuple(filter(None, (first[characters:], *others)))


def _unused(ids: set[str]) -> str:
    number = len(ids) + 1
    while str(number) in ids:
        number += 1
    return str(number)
