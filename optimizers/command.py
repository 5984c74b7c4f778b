"""A module that is run as a command, with this package's errors as plain messages."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from reasonflow.errors import ReasonFlowError


def run(main: Callable[..., None]) -> None:
    """Run it with the arguments of the command line. An error of ours is printed, and ends the process with 2."""
    try:
        typer.run(main)
    except ReasonFlowError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
