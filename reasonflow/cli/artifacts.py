"""Artifacts where a command takes a program's name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonflow.errors import ArtifactWarning, InputError

if TYPE_CHECKING:
    from reasonflow.language.program import Program


def is_artifact(word: str) -> bool:
    """Whether the word names a file and not a program."""
    return word.endswith(".json")


def open_artifact(
    path: str,
    signature: str | type,
    *,
    settings: Sequence[str] = (),
    corpus: Sequence[Path] = (),
    allow: Sequence[str] = (),
) -> Program:
    """The program of an artifact, for problems of this signature; differences to where it was saved go to stderr.

    allow: "module:Name" of classes and functions it may name; modules of the working folder are found, too.

    Raises InputError for what `rf.load` refuses, for options that only a program made by its name takes, and where it
    takes other inputs or does not give what is graded.
    """
    import reasonflow as rf
    from reasonflow.language.signatures import read_signature

    for option, given in (("--set", settings), ("--corpus", corpus)):
        if given:
            raise InputError(
                f"{option} has no use with an artifact",
                why=f"{path} says how its program is made",
                fix="leave it out, or name the program itself",
            )
    if allow and "" not in sys.path:
        sys.path.append("")  # an installed command does not look into the working folder
    with warnings.catch_warnings(record=True) as differences:
        warnings.simplefilter("always", ArtifactWarning)
        program: Any = rf.load(path, allow=allow)
    for warning in differences:
        print(f"warning: {warning.message}", file=sys.stderr)
    task = read_signature(signature)
    own = list(program.signature.output_fields) if program.signature is not None else list(task.output_fields)
    if set(program.input_names()) != set(task.input_fields) or not set(task.output_fields) <= set(own):
        theirs = f"{', '.join(task.input_fields)} -> {', '.join(task.output_fields)}"
        raise InputError(
            f"{path} does not take these problems",
            why=f"it is of {', '.join(program.input_names())} -> {', '.join(own)}; they are of {theirs}",
            fix="give problems with the fields it was made for",
        )
    return program  # type: ignore[no-any-return]  # a Program, as rf.load says
