"""The steps of ThreadWeaver's state machine between model calls: from a plan to its threads, from threads to their
join.

As the released code has them (arXiv 2512.07843, evaluation script and controller), over token ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy

import reasonflow as rf
from reasonflow.programs.final_fields import final_fields
from reasonflow.programs.seams import Seams
from reasonflow.programs.trajectories import parse, planned
from reasonflow.prompts.context import Context
from reasonflow.prompts.styles import Style, answer_field
from reasonflow.runtime.values import Hole, Record

RESCUED = "no answer came of it: solved in one go"
"""What the record says of a run whose trajectory was given up."""
FEWEST = 30
"""Tokens left for each thread below which none is begun (Multiverse's guard)."""
_FINISH = 4
"""Of what is left in so many parts one stays for what comes behind the threads."""


class Branches(NamedTuple):
    """The threads that a plan has begun."""

    ids: tuple[str, ...]
    contexts: list[Context]
    """Where each goes on from."""
    room: int | None
    """Tokens that each may write."""


class Joined(NamedTuple):
    """What the trunk goes on from."""

    context: Context
    over: bool
    """Nobody goes on: a thread did not end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the steps of one program have in common."""

    seams: Seams
    signature: type[dspy.Signature]
    style: Style
    """How an answer of the signature is read."""
    tokens: int | None = None
    """Of a whole trajectory with its prompt; None: the engine's window."""
    strict: bool = False
    notes: tuple[str, ...] = ()
    """What every run says of itself."""

    def plans(self, record: Any) -> bool:
        """Whether a record ends in a plan: its threads are to be written."""
        return bool(record.stopped == self.seams.planned)

    def finished(self, record: Any) -> bool:
        """Whether it does not."""
        return not self.plans(record)

    def fork(self, record: Any, most: int) -> Branches:
        """The threads that the plan at the end names: none where it names none, or where there is no room for them.

        Of more than `most` the last are left out.
        """
        context: Context = record.context
        outlines, _ = planned(context.text, self.seams.dialect)
        ids = tuple(outline.id for outline in outlines)
        if not ids:
            rf.note("a plan that names no thread: written on in sequence")
            return Branches((), [], None)
        if len(ids) > most:
            rf.note(f"{len(ids) - most} of {len(ids)} outlines are left out: threads={most}")
            ids = ids[:most]
        limits = [limit for limit in (self.tokens, context.window) if limit is not None]
        room = None
        if limits:
            left = min(limits) - len(context)
            room = (left - left // _FINISH) // len(ids)
            if room < FEWEST:
                rf.note(f"no room for {len(ids)} threads, {left} tokens are left: written on in sequence", repair=False)
                return Branches((), [], None)
        return Branches(ids, [context.then(f"{self.seams.begin}{id}:") for id in ids], room)

    def join(self, record: Any, branches: Branches, threads: list[Any]) -> Joined:
        """The threads behind each other, in the order of their outlines.

        One that did not end by itself is closed, and nobody goes on. One that failed is left out.
        """
        context: Context = record.context
        seams, over, begin = self.seams, False, self.seams.begin
        for id, before, thread in zip(branches.ids, branches.contexts, threads, strict=True):
            if isinstance(thread, Hole):
                rf.note(f"thread {id} failed and is left out: {thread.error}")
                continue
            context = context.then(f"{begin}{id}:").behind([thread.context.since(before)])
            begin = seams.next
            if thread.stopped != seams.closed:
                how = "was cut at its token cap" if thread.cut else "ended with the model's turn"
                rf.note(f"thread {id} {how}: it is closed")
                context, over = context.then(f"\n{seams.closed}"), True
        if not branches.ids:
            return Joined(context, over=False)
        return Joined(context.then(seams.early if over else seams.end), over)

    def end(self, context: Context) -> Record:
        """The last record of a trajectory that nobody goes on with."""
        return Record({"context": context, "stopped": None, "cut": True}, context.text)

    def read(self, record: Any) -> Record:
        """The answer in a trajectory, with a note of each repair. Raises ProgramError where `strict`."""
        text = record.context.text
        for note in self.notes:
            rf.note(note, repair=False)
        for repair in parse(text, self.seams.dialect, strict=self.strict).repairs:
            rf.note(f"at character {repair.at}: {repair.what}")
        return self.so_far(record)

    def so_far(self, record: Any) -> Record:
        """The same without a word about its structure, which need not be whole yet."""
        text = record.context.text
        fields = final_fields(self.signature, self.style, text, cut=record.cut)
        return Record({**fields, "trajectory": text}, text)

    def rescued(self, record: Any) -> Record:
        """The answer of a solution in one go, which a trajectory without an answer is given up for."""
        rf.note(RESCUED)
        if "context" in record:
            return self.read(record)
        return Record({**record.fields, "trajectory": record.full_text}, record.full_text, record.thinking)

    def answered(self, record: Record) -> bool:
        """Whether an answer was found."""
        return record[answer_field(self.signature)] is not None
