"""The `reasonflow` command: a list of its subcommands and one place where errors become messages.

Exit codes: 0 done, 1 a run failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from reasonflow.errors import InputError, ProgramError, PromptTooLong, ReasonFlowError

app = typer.Typer(
    name="reasonflow",
    help="Parallel reasoning programs on a local vLLM engine that shares their prefixes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from reasonflow import __version__

        typer.echo(f"reasonflow {__version__}")
        raise typer.Exit


@app.callback()
def reasonflow(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Parallel reasoning programs on a local vLLM engine that shares their prefixes."""


@functools.cache  # attached twice, a subcommand is built twice
def register() -> None:
    """Attach the subcommands. Their modules import the heavy libraries inside the functions only."""
    from reasonflow.cli import bench, compare, doctor, explain, models, run, sweep
    from reasonflow.cli import compile as compiling
    from reasonflow.cli import eval as evaluation

    app.command()(run.run)
    app.command("eval")(evaluation.evaluate)
    app.command()(compare.compare)
    app.command()(sweep.sweep)
    app.command("compile")(compiling.compile_program)
    app.command()(explain.explain)
    app.command()(models.models)
    app.command()(doctor.doctor)
    app.add_typer(bench.app, name="bench")


@functools.cache  # typer reads the types of all options of all subcommands for it: a tenth of a second
def command() -> Callable[[], object]:
    """The command with its subcommands; called, it reads `sys.argv`."""
    register()
    return typer.main.get_command(app)


def main() -> None:
    """Entry point of the console script."""
    try:
        command()()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ReasonFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, (InputError, ProgramError, PromptTooLong)) else 1)


if __name__ == "__main__":
    main()
