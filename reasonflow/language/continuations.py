"""`Continue`: a call site whose text goes on from where another left off, token by token."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import dspy

from reasonflow.errors import InputError, ProgramError
from reasonflow.language.call_sites import Generate
from reasonflow.language.signatures import read_signature
from reasonflow.prompts.context import AFTER, ROOM
from reasonflow.prompts.styles import Style

GIVES = ("context", "stopped", "cut")


class Continue(Generate):
    """A call site that writes raw text up to a stop string, and gives the context to go on from.

    signature: what a context begins with: called with the signature's inputs, it renders their prompt as `Generate`
        does and continues it. None: it only goes on from contexts, `self.thread(after=record.context)`, which every
        site can.
    stop: strings that end its text. They stay in it, and in the context.
    unmarked: texts that its inputs must not contain, broken apart where they do: the marks of the structure that the
        program looks for in what the model writes.
    style, config, floor_tokens, weight, layout: as for `Generate`; the style says how the prompt asks for an answer.

    A record has `text`, what this call wrote, its stop string included; `context`, a `Context`: all token ids until
    then as they are, which `context.then(text)` goes on with; `stopped`, the stop string that ended it, or None where
    the model ended its turn; `cut`, whether a token limit ended it. `room=` of a call caps its tokens by a number
    that the run computes. Control tokens stay in the text. Needs an engine that takes token ids; raises BackendError
    on others. DSPy's traces leave its calls out, since they answer no signature.
    """

    continues: ClassVar[bool] = True

    def __init__(
        self,
        signature: str | type[dspy.Signature] | None = None,
        *,
        stop: str | Sequence[str] = (),
        unmarked: Sequence[str] = (),
        style: Style | None = None,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        taken = set() if signature is None else {AFTER, ROOM} & set(read_signature(signature).input_fields)
        if taken:
            name = min(taken)
            raise InputError(
                f"the input {name!r} of {signature!r} has a name of Continue's own",
                why="`after` is the context that a call goes on from, `room` the tokens that it may write",
                fix="give the field another name",
            )
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(stops):
            raise InputError("an empty stop string ends nothing", fix="leave it out")
        self.begins = signature is not None
        settings = {"keep_special": True, **({"stop": stops} if stops else {}), **(config or {})}
        super().__init__(
            signature or f"{AFTER} -> text", style=style if self.begins else "text", config=settings, **options
        )
        self.unmarked = tuple(unmarked)

    def takes(self, given: Collection[str]) -> tuple[str, ...]:
        """Names of the inputs of a call that is given these. Raises ProgramError where it can begin nothing."""
        room = (ROOM,) if ROOM in given else ()
        if AFTER in given:
            return (AFTER, *room)
        if not self.begins:
            raise ProgramError(
                "this Continue has no signature to begin with",
                why="it goes on from the contexts that others give",
                fix="pass after=record.context, or give it a signature",
            )
        return (*super().takes(given), *room)

    def gives(self) -> tuple[str, ...]:
        """Names of the fields of a record."""
        return GIVES
