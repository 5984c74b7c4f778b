"""What a suite is, and what it is run with."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from rich.console import Console

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.dataset import read_problems
from reasonflow.evals.manifest import claimed
from reasonflow.evals.suites.findings import Findings

FILE = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One run of a suite."""

    open: Callable[[str], dspy.LM]
    """Gives the language model of a name, nothing started yet."""
    model: str
    """The one that is measured."""
    limit: int
    """Problems of each task."""
    seed: int
    """Of the samples; the problems are the same for all."""
    out: Path
    """One folder below it for each evaluation: the same setting goes on there."""
    console: Console
    """Where progress is told."""
    parts: tuple[str, ...] = ()
    """What alone is run, each in its folder below `out`, so that processes may share the work; empty for everything."""
    concurrency: int | None = None
    """Runs side by side; None: as many as the engine takes."""
    data: Path | None = None
    """A file of problems in place of the suite's own, for suites that take one."""
    small: str = ""
    """The smaller model beside the measured one, for suites that take one."""

    def say(self, text: str) -> None:
        """A line of progress."""
        self.console.print(text, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A table that one command makes."""

    name: str
    model: str
    """Measured where no other is named."""
    limit: int
    """Problems of each task where no other number is given."""
    run: Callable[[Setting], Awaitable[Findings]]
    """Makes the table. Called again with an equal setting it goes on where it was stopped, and repeats no sample."""
    parts: tuple[str, ...] = ()
    """What may be run alone."""
    takes_data: bool = False
    """Whether it can be of given problems."""
    small: str = ""
    """The smaller model beside the measured one, where no other is named; empty: it takes none."""

    async def make(self, setting: Setting) -> Findings:
        """The table, which is left in `results.json` of the folder, too, unless it is of some parts only.

        Raises UnknownName for a part that is none, InputError for problems and models that it does not take, and while
        another process makes the same.
        """
        self.check_data(setting.data)
        self.check_small(setting.small, setting.model)
        for part in setting.parts:
            if part not in self.parts:
                raise UnknownName.among(f"part of the suite {self.name}", part, self.parts)
        with ExitStack() as claims:
            for folder in [setting.out / part for part in setting.parts] or [setting.out]:
                claims.enter_context(claimed(folder))
            found = await self.run(setting)
            if not setting.parts:
                text = json.dumps(self.to_json(setting, found), indent=2, ensure_ascii=False)
                (setting.out / FILE).write_text(text + "\n", encoding="utf-8")
            return found

    def check_data(self, data: Path | None) -> None:
        """Raises InputError for given problems where the suite is of its own, and for a file that holds none."""
        if data is None:
            return
        if not self.takes_data:
            raise InputError(
                f"--data has no meaning with the suite {self.name}",
                why="its problems are its own: its goals are about them",
                fix="leave it out, or take a suite that measures any problems: threads-prompted, speculation-prompted, "
                "or search-questions",
            )
        read_problems(data)

    def check_small(self, small: str, model: str) -> None:
        """Raises InputError for a smaller model where the suite takes none, and for one that is the measured one."""
        if small and not self.small:
            raise InputError(
                f"--small has no meaning with the suite {self.name}",
                why="it measures one model, or has a small one of its own",
                fix="leave it out, or take a suite of any two models: speculation-prompted",
            )
        if self.small and small == model:
            raise InputError(
                f"the small model and the measured one are both {model!r}",
                why="what a smaller model saves is measured against a larger one",
                fix="name a smaller model of the same family: --small",
            )

    def to_json(self, setting: Setting, found: Findings) -> dict[str, Any]:
        """The findings as plain JSON, with what they were made with."""
        made_with: dict[str, Any] = {"suite": self.name, "model": setting.model}
        made_with |= {"limit": setting.limit, "seed": setting.seed}
        if setting.data is not None:
            made_with["data"] = str(setting.data)
        if setting.small:
            made_with["small"] = setting.small
        if setting.parts:
            made_with["parts"] = setting.parts
        return {**made_with, **found.to_json(), "out": str(setting.out)}
