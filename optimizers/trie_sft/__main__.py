"""`python -m reasonflow.optimizers.trie_sft`: fine-tune a model on trajectories in threads."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from reasonflow.errors import InputError
from reasonflow.optimizers.command import run
from reasonflow.optimizers.trie_sft.settings import DIALECTS, DTYPES, Settings

STARTED = time.monotonic()
_AS_PUBLISHED = Settings()


def main(
    model: Annotated[str, typer.Option(metavar="DIR|embedded", help="A folder, or a built-in model.")] = "embedded",
    data: Annotated[
        list[Path] | None, typer.Option(metavar="FILE...", help="JSON lines, in one of two forms; several files.")
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files of data.")] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoint, report, model; the same command goes on there.")
    ] = Path("runs/trie-sft"),
    epochs: Annotated[int, typer.Option(help="Times that all data is read.")] = _AS_PUBLISHED.epochs,
    lr: Annotated[float, typer.Option(help="Learning rate; adapters usually take a higher one.")] = _AS_PUBLISHED.lr,
    batch: Annotated[int, typer.Option(help="Trajectories to an update.")] = _AS_PUBLISHED.batch,
    row_tokens: Annotated[
        int, typer.Option(help="Tokens read at once; longer trajectories are left out.")
    ] = _AS_PUBLISHED.row_tokens,
    lora_rank: Annotated[
        int, typer.Option(help="Train adapters of this rank, and merge them; 0: all weights.")
    ] = _AS_PUBLISHED.lora_rank,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop with a checkpoint after so long; the same command goes on.")
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps from one checkpoint to the next.")] = 100,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read many rows; all cores but one if not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; what there is if not given.")] = None,
    dtype: Annotated[
        str, typer.Option(help=f"{' or '.join(DTYPES)}, of the arithmetic; by the device if not given.")
    ] = _AS_PUBLISHED.dtype,
    recompute: Annotated[
        bool | None,
        typer.Option(help="Compute activations twice instead of keeping them; on a GPU if not told, for long rows."),
    ] = _AS_PUBLISHED.recompute,
    seed: Annotated[int, typer.Option(help="Of the order of the data.")] = _AS_PUBLISHED.seed,
    dialect: Annotated[
        str, typer.Option(help=f"How blocks are spelled: {' or '.join(DIALECTS)}.")
    ] = _AS_PUBLISHED.dialect,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Train the built-in model on made sums, within a minute; on a CPU if not told."),
    ] = False,
) -> None:
    """Fine-tune a causal language model on trajectories in threads, each as one trie of tokens.

    The trie shows the model every request that the state machine of ThreadWeaver sends (arXiv 2512.07843) and computes
    what they have in common once. Models of the families Llama, Qwen2 and Qwen3. The trained model is in OUT/model, as
    vLLM and transformers load it; with --lora-rank the adapter is in OUT/adapter; OUT/report.json has the loss curve.

    A line of data is one of

      {"messages": [{"role": "user", "content": "..."}], "text": "<Parallel>..."}

      {"prompt": [1, 2], "units": [{"context": [1, 2], "completion": [3, 4]}, ...]}

    A context holds all ids that were sent, the prompt first. Lines that say "correct": false or "well_formed": false
    are left out, malformed texts and those longer than a row or than the model's window too; all are counted.

    Examples:

      python -m reasonflow.optimizers.trie_sft --smoke

      python -m reasonflow.optimizers.trie_sft --model Qwen3-0.6B --data threads.jsonl --epochs 8 --seconds 3000

      python -m reasonflow.optimizers.trie_sft --data a.jsonl b.jsonl --lora-rank 16 --lr 1e-4 --row-tokens 8192
    """
    from transformers.utils.logging import disable_progress_bar

    from reasonflow.optimizers.trie_sft.run import TrieSFT

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    disable_progress_bar()
    if smoke:
        from reasonflow.optimizers.trie_sft.smoke import SETTINGS
        from reasonflow.optimizers.trie_sft.smoke import smoke as run_smoke

        if data or more:
            raise InputError("--smoke makes its own data", fix="leave the files out, or leave --smoke out")
        chosen = replace(SETTINGS, seed=seed)
        report = run_smoke(out / "smoke", say, settings=chosen, seconds=seconds, device=device or "cpu")
        _print(report, as_json=as_json)
        if not report["equivalence"]["holds"]:
            raise typer.Exit(1)
        return
    files = [*(data or ()), *(more or ())]
    if not files:
        raise InputError("there is no data to train on", fix="give --data FILE, or --smoke")
    settings = Settings(
        epochs=epochs,
        lr=lr,
        batch=batch,
        row_tokens=row_tokens,
        lora_rank=lora_rank,
        dialect=dialect,
        dtype=dtype,
        recompute=recompute,
        seed=seed,
    )
    training = TrieSFT(model, files, out, settings, device=device, save_every=save_every, workers=workers, say=say)
    training.fit(seconds=None if seconds is None else max(0.0, STARTED + seconds - time.monotonic()))
    _print({**training.report(), "exported": str(training.export())}, as_json=as_json)


def _print(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    epoch, loss = report["epoch"], report["loss"]
    if loss:
        print(f"loss {loss[0]:.4f} to {loss[-1]:.4f} in {len(loss)} steps of {report['steps_in_all']}")
    print(
        f"an epoch is {epoch['tokens']:,} tokens; each unit alone would be {epoch['tokens_of_units_alone']:,},"
        f" {epoch['saved_share']:.0%} are saved"
    )
    print(
        f"the units that no other goes on from would be {epoch['tokens_of_longest_sequences']:,} tokens alone,"
        f" {epoch['saved_share_of_longest_sequences']:.0%} are saved"
    )
    if "equivalence" in report:
        found = report["equivalence"]
        print(
            f"logits alone and in the trie: {found['largest_difference']:.1e} apart,"
            f" {'within' if found['holds'] else 'OUTSIDE OF'} {found['tolerance']:.0e}"
        )
        print(f"stopped and resumed at step {report['resumed_at_step']}")
    print(f"{'finished' if report['finished'] else 'stopped'}; the model is in {report['exported']}")


def cli() -> None:
    """The command, with this package's errors as plain messages."""
    run(main)


if __name__ == "__main__":
    cli()
