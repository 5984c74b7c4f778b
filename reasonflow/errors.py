"""Every exception ReasonFlow raises, as one tree.

ReasonFlowError              what happened, why, what to do
├── ProgramError             a program is written wrongly (found while tracing or checking)
│   └── RefError             a symbolic value was used as if it were a real one (also a TypeError)
├── InputError               a name, option, file or value from outside is wrong (also a ValueError)
│   └── UnknownName          an unknown program, model, benchmark, option or field
├── AnswerError              the model's text holds no answer a program can return
├── RunError                 a run lost a branch it cannot do without
│   ├── BudgetExceeded       a budget does not allow a call, and there is no answer to fall back on
│   └── BranchCancelled      a branch was stopped because its result could not matter any more
│       └── BranchGated      a sample was ended while it was written, because its gate said so
└── BackendError             an engine failed; foreign errors are translated once, at the boundary
    ├── EngineStartError     the engine cannot start
    ├── EngineDead           the engine stopped and takes no more requests
    └── PromptTooLong        the prompt does not fit the model's window

ReasonFlowWarning            what is allowed and probably not meant
├── ArtifactWarning          an artifact was loaded where something differs from where it was saved
├── EqualSignatures          an optimizer cannot tell two call sites of a program apart
└── UnheardAdapter           an adapter changes the call of a model, which programs do without it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from reasonflow.runtime.record import Run


class ReasonFlowError(Exception):
    """An error that says what happened, why, and what to do.

    The three parts stay readable as attributes: interfaces print them on lines of their own. An error that ended a run
    carries its record.
    """

    run: Run | None = None

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__("\n".join(line for line in (what, why and f"why: {why}", fix and f"fix: {fix}") if line))

    def anew(self) -> Self:
        """A copy to raise: one instance raised to many would collect the tracebacks of everybody who got it."""
        copy = type(self)(self.what, why=self.why, fix=self.fix)
        copy.__dict__.update(vars(self))
        copy.__cause__ = self.__cause__
        return copy

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.why, self.fix)


_LISTED = 48
"""Known names an error lists at most; of more it lists the nearest."""


def _rebuild(kind: type[ReasonFlowError], what: str, why: str, fix: str) -> ReasonFlowError:
    return kind(what, why=why, fix=fix)


class ProgramError(ReasonFlowError):
    """A program is written wrongly; nothing was sent to a model."""


class RefError(ProgramError, TypeError):
    """A symbolic value was used where only a real one makes sense."""


class InputError(ReasonFlowError, ValueError):
    """Something handed in from outside is wrong."""


class UnknownName(InputError):
    """A name that nothing answers to; the message holds the nearest known ones."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> UnknownName:
        """The error for `name`, which is none of `known`; `kind` is the noun ("program", "benchmark")."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=8, cutoff=0.5)
        shown = names if len(names) <= _LISTED else near or names[:8]
        listing = ", ".join(shown) or "none"
        if len(shown) < len(names):
            listing += f", and {len(names) - len(shown)} more"
        return cls(
            f"unknown {kind} {name!r}",
            why=f"known: {listing}",
            fix=fix or (f"did you mean {near[0]!r}?" if near else "use one of these"),
        )


class AnswerError(ReasonFlowError):
    """The model answered, but its text holds nothing the program can return."""


class RunError(ReasonFlowError):
    """A run cannot be completed because a branch it needs has failed."""


class BudgetExceeded(RunError):
    """A budget does not allow what is asked of it."""


class BranchCancelled(RunError):
    """A branch was stopped early: another won the race, a quorum stood, or the budget was spent. Never leaves a run."""


class BranchGated(BranchCancelled):
    """A sample was ended while it was written: what it watched itself by had fallen below its call's threshold."""


class BackendError(ReasonFlowError):
    """An engine failed. `transient` says whether the same request may succeed later."""

    transient: bool = False


class EngineStartError(BackendError):
    """The engine cannot start; nothing was run."""


class EngineDead(BackendError):
    """The engine stopped; it must be started again before it takes requests."""

    restartable: bool = True
    """Whether a new engine may take its place by itself: not after it was closed, nor beside one that still hangs."""


class PromptTooLong(BackendError, ValueError):
    """The prompt leaves no room for a single generated token."""


class ReasonFlowWarning(UserWarning):
    """Something is allowed and probably not meant. `warnings.filterwarnings` chooses by these classes."""


class ArtifactWarning(ReasonFlowWarning):
    """An artifact was loaded where something differs from where it was saved."""


class EqualSignatures(ReasonFlowWarning):
    """Two call sites of a program have equal signatures, by which GEPA finds their traces."""


class UnheardAdapter(ReasonFlowWarning):
    """An adapter does something of its own when it is called, and a program does not call it."""


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended a task group; the siblings were cancelled for it."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
