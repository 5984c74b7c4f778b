"""The requests of the ThreadWeaver state machine, read back out of a finished trajectory: context and completion pairs.

Inference sends plain causal requests: the main line up to the end of the outlines, every thread from the outlines on,
then the main line again behind the joined threads. Training shows the model exactly these (arXiv 2512.07843, the
section on trie-based training), and the whole trajectory besides, so that it also writes one in a single go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reasonflow.backends.protocol import Tokens
from reasonflow.errors import InputError, ProgramError
from reasonflow.programs.seams import RELEASED
from reasonflow.programs.trajectories import THREADWEAVER, Block, Dialect, Part, parse


class Encoder(Protocol):
    """Makes tokens of a text, and adds none of its own."""

    def encode(self, text: str) -> Tokens: ...


@dataclass(frozen=True, slots=True)
class Unit:
    """One request and what the model answers."""

    context: Tokens
    """Everything that is sent, the prompt first."""
    completion: Tokens
    """What is learned, the tag that stops it included."""

    @property
    def tokens(self) -> Tokens:
        """The sequence that the model reads."""
        return self.context + self.completion


def units_of(
    prompt: Tokens, text: str, tokenizer: Encoder, dialect: Dialect = THREADWEAVER, *, end: Sequence[int] = ()
) -> tuple[Unit, ...]:
    """Every request of a trajectory, each once: the whole of it first, then in the order the machine sends them.

    text: what the assistant wrote. end: the ids that end its turn; the last completion and the whole end in them.
    Pieces are encoded one by one, as at inference, and the whole is made of the same tokens: units that begin alike are
    alike token by token. Between threads stands what the machine writes there, whatever white space the text has. As
    the released code of ThreadWeaver has it: a seed `"\\n<Thread>\\n{id}:"`, no break between one thread and the next,
    a line break behind the last; the rest of the block is the model's own, with its `</Parallel>`, and a conclusion
    where there is one. Multiverse has a path to a line, and the machine begins the conclusion.
    Raises InputError for a text that is malformed, or that the machine cannot have made.
    """
    try:
        trajectory = parse(text, dialect, strict=True)
    except ProgramError as error:
        raise InputError(error.what, why=error.why, fix="leave it out: it cannot be cut into requests") from error
    machine = _Machine(text, tokenizer, dialect)
    written = machine.line(tuple(prompt), 0, len(text), trajectory.parts, tuple(end))
    return tuple(dict.fromkeys([Unit(tuple(prompt), written), *machine.units]))


class _Machine:
    """Walks a trajectory as the client of the engine does, and notes each request."""

    def __init__(self, text: str, tokenizer: Encoder, dialect: Dialect) -> None:
        self._text, self._encode = text, tokenizer.encode
        self._seams, self._opens = RELEASED[dialect.name], f"<{dialect.thread}>"
        self.units: list[Unit] = []

    def line(self, context: Tokens, start: int, end: int, parts: Sequence[Part], last: Tokens = ()) -> Tokens:
        """The tokens of text[start:end], which continues the context; `last` is appended to them."""
        written: Tokens = ()
        for block in (part for part in parts if isinstance(part, Block)):
            planned = self._plan_end(block)
            written += self._request(context + written, self._text[start:planned])
            joined, start = self._fork(context + written, block, planned)
            written += joined
        return written + self._request(context + written, self._text[start:end], last)

    def _request(self, context: Tokens, text: str, last: Tokens = ()) -> Tokens:
        completion = self._encode(text) + last
        if completion:
            self.units.append(Unit(context, completion))
        return completion

    def _plan_end(self, block: Block) -> int:
        """Where the outlines are closed: there the main line stops."""
        at = self._text.rfind(self._seams.planned, block.start, block.threads[0].start)
        planned, threads = [outline.id for outline in block.outlines], [thread.id for thread in block.threads]
        if at < 0 or planned != threads:
            raise InputError(
                "a block whose threads do not follow its outlines",
                why=f"outlines {', '.join(planned)}, threads {', '.join(threads)}, at character {block.start}",
                fix="put the outlines first, and the threads in their order: so they are asked for and joined",
            )
        return at + len(self._seams.planned)

    def _fork(self, context: Tokens, block: Block, at: int) -> tuple[Tokens, int]:
        """The joined threads behind a context, and where the main line goes on in the text."""
        joined: Tokens = ()
        for thread in block.threads:
            self._must_be_blank(at, thread.start - len(self._opens))
            seed, following = (self._encode(f"{each}{thread.id}:") for each in (self._seams.begin, self._seams.next))
            body, at = self._text.index(":", thread.start) + 1, thread.end + len(self._seams.closed)
            said = self.line(context + seed, body, at, thread.parts)
            joined += (following if joined else seed) + said
        return joined + self._encode(self._seams.end), self._behind_end(at)

    def _behind_end(self, at: int) -> int:
        """Where the model goes on behind the last thread, which ends there: what the machine writes is passed over."""
        if tag := self._seams.end.strip():
            found = self._text.find(tag, at)
            if found < 0 or self._text[at:found].strip():
                raise InputError(
                    f"a block that does not go on with {tag}",
                    why=f"at character {at} its threads have ended, and there the machine writes {tag}",
                    fix="put its conclusion behind its threads",
                )
            at = found + len(tag)
        return at + self._text.startswith("\n", at)

    def _must_be_blank(self, start: int, end: int) -> None:
        if between := self._text[start:end].strip():
            raise InputError(
                "a block with text between its threads",
                why=f"at character {start} stands {between[:40]!r}, and no request writes there",
                fix="leave it out: the machine cannot have made it",
            )
