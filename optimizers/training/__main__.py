"""`python -m reasonflow.optimizers.training`: train a small model by a recipe."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from reasonflow.errors import InputError, UnknownName
from reasonflow.optimizers.command import run
from reasonflow.optimizers.training.recipe import RECIPES

STARTED = time.monotonic()


def main(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")] = "embedded",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint, drafts, report; goes on there.")] = Path(
        "runs/training"
    ),
    smoke: Annotated[bool, typer.Option("--smoke", help="The recipe `smoke`: every stage once, on a CPU.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop with a checkpoint after so long; the same command goes on.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the model goes for engines. OUT/model if not given.")
    ] = None,
    scale: Annotated[float, typer.Option(help="So many times the recipe's tokens and questions.")] = 1.0,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows in a batch.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that make data; all cores but two if not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; what there is if not given.")] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the layers on a GPU.")] = True,
    dense: Annotated[
        bool, typer.Option("--dense", help="Attention without FlexAttention: slower, and much memory on wide rows.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal data and weights.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Train a small language model, and write it as vLLM and transformers load it.

    The embedded model and its twin took one H100 12 minutes. On a CPU only --smoke makes sense: it shows that every
    stage works, not that anything is learned.

    Examples:

      python -m reasonflow.optimizers.training --smoke

      python -m reasonflow.optimizers.training embedded --out runs/training --seconds 450

      python -m reasonflow.optimizers.training embedded-draft --out runs/twin
    """
    import torch

    from reasonflow.optimizers.training.run import Training

    name = "smoke" if smoke else recipe
    if name not in RECIPES:
        raise UnknownName.among("recipe", name, RECIPES)
    for option, value in (("--scale", scale), ("--lr", lr)):
        if value is not None and value <= 0:
            raise InputError(f"{option} {value} trains nothing", fix="give a number above 0")
    chosen = RECIPES[name].scaled(scale) if scale != 1.0 else RECIPES[name]
    chosen = replace(chosen, rows=rows or chosen.rows, lr=lr or chosen.lr)
    where = device or ("cuda" if torch.cuda.is_available() and not smoke else "cpu")
    if where not in ("cpu", "cuda"):
        raise InputError(f"device {where!r} is not supported", fix="cpu or cuda")
    made_by = workers if workers is not None else max(0, len(os.sched_getaffinity(0)) - 2)
    torch.set_float32_matmul_precision("high")
    stream = sys.stderr if as_json else sys.stdout
    folder = out / name
    training = Training(
        chosen,
        folder,
        deadline=STARTED + seconds if seconds is not None else float("inf"),
        device=where,
        workers=made_by,
        compiled=compiled,
        attention="sdpa" if dense else None,
        seed=seed,
        say=lambda text: print(text, file=stream, flush=True),
    )
    print(
        f"{name}: {chosen.model.parameters:,} parameters, {chosen.tokens:,} tokens on {where}", file=stream, flush=True
    )
    finished = training.run()
    model = export or folder / "model"
    training.export(model)
    report = {**training.report(), "finished": finished, "out": str(folder)}
    if as_json:
        print(json.dumps(report))
        return
    for line in _stages(report):
        print(line)
    print(f"{'finished' if finished else 'stopped'} after {report['tokens']:,} tokens; the model is in {model}")


def _stages(report: dict[str, Any]) -> Iterator[str]:
    """A line for each stage: its minutes and, where it trained, its loss and speed."""
    for stage, minutes in report["minutes"].items():
        log = [entry for entry in report["log"] if entry["stage"] == int(stage.split()[0])]
        line = f"stage {stage}: {minutes:.2f} min"
        if log:
            speed = sum(entry["tokens_per_s"] for entry in log) / len(log)
            line += f", loss {log[0]['loss']:.3f} to {log[-1]['loss']:.3f}, {speed:,.0f} tokens/s"
        yield line


def cli() -> None:
    """The command, with this package's errors as plain messages."""
    run(main)


if __name__ == "__main__":
    cli()
