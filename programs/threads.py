"""ThreadWeaver (arXiv 2512.07843): the model plans threads, the engine writes them side by side, the model goes on.

What a model wrote is continued as it is, token by token, so that threads and joins find all before them in the
engine's cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import dspy

import reasonflow as rf
from reasonflow.language.choices import as_choice
from reasonflow.language.signatures import read_signature
from reasonflow.programs.knobs import TEMPERATURES, Layout, Temperature, check_known, check_whole
from reasonflow.programs.quick import quick
from reasonflow.programs.refinement import extended
from reasonflow.programs.seams import CODE, PAPER, PATHS
from reasonflow.programs.thread_machine import Machine
from reasonflow.programs.thread_prompts import examples, told
from reasonflow.runtime.load import load

Mode: TypeAlias = Literal["parallel", "autoregressive", "auto"]
Form: TypeAlias = Literal["code", "paper"]
Spelling: TypeAlias = Literal["threadweaver", "multiverse"]

BUSY = 0.5
"""Load of the engine from which on "auto" writes in one go: threads need slots that a busy engine does not have."""
NESTED_BLOCKS = 2
"""Blocks in one thread at most, where blocks may stand inside each other."""

TASK = "Work on independent parts in parallel threads."


class ThreadWeaver(rf.Program):
    """A model writes until it has planned threads; they are written side by side, and it goes on behind all of them.

    For models that are trained to plan threads. What they write with tags that do not fit is read as well as it can be,
    and the run record tells every repair. The output has `trajectory`, the whole text, beside the signature's fields.

    threads: of a block, at most; outlines beyond it are left out, and the run record says so.
    blocks: one behind the other, at most (the released controller allows 32 rounds).
    tokens: of the whole trajectory with its prompt, threads included; None: the engine's window.
    mode: "parallel"; "autoregressive": in one go, tags and all, the better way on an engine that is busy anyway;
        "auto": parallel while the engine's load is below one half.
    dialect: "multiverse" has its tags, blocks inside each other, and a conclusion (arXiv 2506.09991). Its own engine
        joins caches at equal positions; here texts are joined, an approximation, and the run record says so.
    form: where paper and released code differ. "code": the model itself ends a block, and threads follow each other
        without a break. "paper": a thread a line, and the block is ended for the model.
    prompted: for models that are not trained for it: the prompt tells the form, and worked examples show it, as demos
        of `trunk` that you can replace (signatures with one output of text have some). The run record says so; a report
        must not mix the two.
    rescue: where no answer comes of it, the problem is solved in one go, as the released controller does after a
    failure. strict: a malformed trajectory raises ProgramError instead.
    temperature, layout: of all calls that have none in their `config`: see `rf.Program`.
    Threads, blocks, mode, temperature and layout may be an `rf.Choice`, numbers also an `rf.Range`, for `rf.compile`.
    """

    search_space: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType(
        {"threads": (1, 2, 4, 8), "blocks": (1, 2, 4, 32), "temperature": TEMPERATURES}
    )

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        threads: int | rf.Choice = 8,
        blocks: int | rf.Choice = 32,
        *,
        tokens: int | None = None,
        mode: Mode | rf.Choice = "parallel",
        dialect: Spelling = "threadweaver",
        form: Form = "code",
        prompted: bool = False,
        rescue: bool = True,
        strict: bool = False,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        for option, number in (("threads", threads), ("blocks", blocks), ("tokens", tokens)):
            if number is not None:
                check_whole(option, number, "leaves nothing to write")
        for name, value, known in (("mode", mode, Mode), ("dialect", dialect, Spelling), ("form", form, Form)):
            check_known(name, value, get_args(known))
        seams = PATHS if dialect == "multiverse" else PAPER if form == "paper" else CODE
        notes = [*(["prompted, not trained"] if prompted else [])]
        if dialect == "multiverse":
            notes.append("texts are joined: an approximation of Multiverse")
        task = read_signature(signature)
        nested = seams.dialect.depth > 1
        self.signature = task
        self.trunk = rf.Continue(
            extended(task, told(seams) if prompted else TASK, {}),
            stop=seams.planned,
            unmarked=seams.marks,
            config=config,
        )
        if prompted and self.trunk.style == "boxed":
            self.trunk.demos = examples(task, seams)
        self.thread = rf.Continue(stop=(seams.closed, seams.planned) if nested else seams.closed, config=config)
        if prompted and rescue:
            self.plain = rf.Generate(task, config=config)
        self.threads, self.blocks = as_choice(threads), as_choice(blocks)
        self.temperature, self.layout = temperature, layout
        self.mode = mode
        self.rescue = rescue
        self.machine = Machine(
            seams=seams,
            signature=self.trunk.signature,
            style=self.trunk.style,
            tokens=tokens,
            strict=strict,
            notes=tuple(notes),
        )

    def plan(self, **inputs: Any) -> Any:
        machine = self.machine

        def woven() -> Any:
            begun = self.trunk(**inputs)
            rf.answer(rf.call(quick(machine.so_far), begun))  # all that a budget may leave
            return self._woven(begun, self.trunk, 1)

        def in_one_go() -> Any:
            return self.trunk(**inputs, config={"stop": ()})

        if self.mode == "auto":
            last = rf.when(rf.call(quiet), woven, in_one_go)
        else:
            last = woven() if self.mode == "parallel" else in_one_go()
        found = rf.call(quick(machine.read), last)
        if not self.rescue:
            return rf.answer(found)

        def rescued() -> Any:
            plain = getattr(self, "plain", None)
            return rf.call(quick(machine.rescued), in_one_go() if plain is None else plain(**inputs))

        return rf.answer(rf.when(rf.call(quick(machine.answered), found), lambda: found, rescued))

    def _woven(self, begun: Any, site: rf.Continue, depth: int) -> Any:
        """A text with all the blocks that it plans, to its end. begun: its first record."""
        machine = self.machine

        def block(last: Any) -> Any:
            branches = rf.call(quick(machine.fork), last, int(self.threads))
            threads = rf.each(branches.contexts, lambda after: thread(after, branches.room), cap=self.threads)
            joined = rf.call(quick(machine.join), last, branches, threads)
            return rf.when(
                joined.over, lambda: rf.call(quick(machine.end), joined.context), lambda: site(after=joined.context)
            )

        def thread(after: Any, room: Any) -> Any:
            begun = self.thread(after=after, room=room)
            return self._woven(begun, self.thread, depth + 1) if depth < machine.seams.dialect.depth else begun

        most: Any = self.blocks if depth == 1 else NESTED_BLOCKS
        return rf.when(
            rf.call(quick(machine.plans), begun),
            lambda: rf.loop(block, begun, until=machine.finished, max_rounds=most),
            lambda: begun,
        )


def quiet() -> bool:
    """Whether the engine has room for threads."""
    return load() < BUSY
