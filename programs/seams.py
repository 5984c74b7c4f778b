"""What stands between the pieces of a threaded trajectory: what a thread begins with, and how threads are put together.

Paper and released code of ThreadWeaver differ here (arXiv 2512.07843); its models are trained on the code's form.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonflow.programs.trajectories import MULTIVERSE, THREADWEAVER, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Of one dialect in one form."""

    dialect: Dialect
    begin: str
    """In front of a thread's number: what a thread's call goes on from, and what the first thread of a block has."""
    next: str
    """The same for the threads behind the first."""
    end: str
    """Behind the last thread: what the trunk goes on from."""
    early: str
    """The same where a thread did not end by itself, so that nobody goes on."""

    @property
    def planned(self) -> str:
        """The tag that ends a plan: the threads begin behind it."""
        return f"</{self.dialect.plan}>"

    @property
    def closed(self) -> str:
        """The tag that ends a thread."""
        return f"</{self.dialect.thread}>"

    @property
    def marks(self) -> tuple[str, ...]:
        """All tags: what no input may contain."""
        words = ("Parallel", self.dialect.plan, "Outline", self.dialect.thread, "Conclusion")
        return tuple(f"<{slash}{word}>" for word in words for slash in ("", "/"))

    def ended(self, conclusion: str) -> str:
        """All behind the last thread of a block, with what the model itself writes there.

        conclusion: all results, in dialects that have one.
        """
        if self.end == self.early:
            return self.end
        concluded = f"{conclusion}\n</Conclusion>\n" if self.end.endswith("<Conclusion>\n") else ""
        return f"{self.end}{concluded}</Parallel>\n"


CODE = Seams(dialect=THREADWEAVER, begin="\n<Thread>\n", next="<Thread>\n", end="\n", early="\n</Parallel>\n")
"""The released state machine: threads follow each other without a break, and the model itself ends the block."""
PAPER = Seams(
    dialect=THREADWEAVER,
    begin="\n<Thread> ",
    next="\n<Thread> ",
    end="\n</Parallel>\n",
    early="\n</Parallel>\n",
)
"""As the paper draws it: a thread a line, and the orchestrator ends the block."""
PATHS = Seams(
    dialect=MULTIVERSE,
    begin="\n<Path>\n",
    next="\n<Path>\n",
    end="\n<Conclusion>\n",
    early="\n</Parallel>\n",
)
"""Multiverse's: the model is to write a conclusion next. Its own engine joins caches at equal positions; here texts are
joined, which is an approximation."""

RELEASED = {seams.dialect.name: seams for seams in (CODE, PATHS)}
"""By dialect, as their models are trained."""
