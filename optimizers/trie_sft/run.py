"""A training on tries in one folder; stopped at any step it goes on there, to the same weights."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.errors import InputError
from reasonflow.optimizers.trie_sft.data import Data, Reader, Source
from reasonflow.optimizers.trie_sft.models import check, end_of_turn, open_model, with_lora
from reasonflow.optimizers.trie_sft.settings import DIALECTS, Settings

_TOLD_EVERY_S = 5.0
"""Seconds between two lines of progress, at least."""
_WIDTHS = 4
"""Kinds of rows that a GPU sees, in quarters of the widest: its kernels are compiled for each width."""
_BLOCK = 128
"""Widths on a GPU are multiples of it: FlexAttention works in blocks of so many tokens."""


@dataclass
class Progress:
    """How far a training is; saved with every checkpoint."""

    steps: int = 0
    tokens: int = 0
    """Computed, padding left out."""
    learned: int = 0
    """Of them those whose prediction counted."""
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    """The loss curve: of each step its loss, rate and tokens."""


class TrieSFT:
    """Supervised fine-tuning of a model on trajectories in threads (ThreadWeaver, arXiv 2512.07843).

        training = TrieSFT("embedded", ["trajectories.jsonl"], "runs/trie-sft", Settings(epochs=8))
        training.fit(seconds=600)
        folder = training.export()
        training.report()["loss"]

    model: a folder, a built-in model, or a repository of the hub. data: files of JSON lines, or rows; as `data.py` has
    them. out: checkpoint, report, the trained model; a checkpoint there is gone on from. device: "cpu" or "cuda"; what
    there is if not given. workers: processes that read many rows; all cores but one if not given. say: gets a line for
    whoever watches; to stderr if not given.
    Raises InputError for rows, models and settings that are wrong, and where the checkpoint is of another training.
    """

    def __init__(
        self,
        model: str | Path,
        data: Sequence[Source],
        out: str | Path = "runs/trie-sft",
        settings: Settings | None = None,
        *,
        device: str | None = None,
        save_every: int = 100,
        workers: int | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        import torch

        self.settings, self.out = settings or Settings(), Path(out)
        self.files, self.save_every = ModelFiles(str(model)), save_every
        self.say = say or _to_stderr
        self.workers = workers or max(1, len(os.sched_getaffinity(0)) - 1)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"device {self.device!r} is not supported", fix="cpu or cuda")
        self.dtype = self.settings.dtype or ("bfloat16" if self.device == "cuda" else "float32")
        check(self.files)
        self.data = self._read(data)
        self.progress = Progress()
        self._order: tuple[int, list[int]] | None = None
        """An epoch, and the order in which it reads the trajectories."""
        self.learner = self._learner()
        self._restore()

    @property
    def batches(self) -> int:
        """Updates in an epoch; the last has the rest."""
        return -(-len(self.data.tries) // self.settings.batch)

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.batches * self.settings.epochs

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.progress.steps >= self.steps

    def fit(self, *, seconds: float | None = None, steps: int | None = None) -> bool:
        """Train to the end, for so long, or for so many more steps; then write a checkpoint. Whether it is finished.

        A step that has begun is completed: it may end later than asked for.
        """
        began, first = time.monotonic(), self.progress.steps
        deadline = began + seconds if seconds is not None else float("inf")
        last = self.steps if steps is None else min(self.steps, first + steps)
        spent, told, told_tokens = self.progress.seconds, began, self.progress.tokens
        while self.progress.steps < last and time.monotonic() < deadline:
            entry = self._step()
            now = time.monotonic()
            self.progress.seconds = spent + now - began
            done = self.progress.steps
            if now - told >= _TOLD_EVERY_S or done in (first + 1, last):
                speed = (self.progress.tokens - told_tokens) / (now - told)
                left = (now - began) / (done - first) * (self.steps - done)
                self.say(
                    f"step {done}/{self.steps}  loss {entry['loss']:.4f}  {speed:,.0f} tokens/s  {_duration(left)} left"
                )
                told, told_tokens = now, self.progress.tokens
            if done % self.save_every == 0 and done < last:
                self.save()
        self.save()
        return self.finished

    def export(self, folder: str | Path | None = None) -> Path:
        """Write the model as it is now, as vLLM and transformers load it; into OUT/model if no folder is given.

        With LoRA the adapter goes into OUT/adapter, and the model has it merged.
        """
        from reasonflow.optimizers.trie_sft.export import export

        target = Path(folder) if folder is not None else self.out / "model"
        adapter = self.out / "adapter" if self.settings.lora_rank else None
        export(self.learner.model, self.files, target, adapter=adapter)
        return target

    def report(self) -> dict[str, Any]:
        """What was trained on, how far it is, the loss curve, and what the trie saves."""
        progress, tries = self.progress, self.data.tries
        flat, alone = sum(map(len, tries)), sum(trie.alone for trie in tries)
        sequences = sum(trie.sequences for trie in tries)
        return {
            "model": self.files.name,
            "parameters_trained": self.learner.parameters,
            "trajectories": len(tries),
            "skipped": dict(self.data.dropped),
            "steps": progress.steps,
            "steps_in_all": self.steps,
            "finished": self.finished,
            "tokens_trained": progress.tokens,
            "tokens_learned": progress.learned,
            "seconds": round(progress.seconds, 1),
            "epoch": {
                # Tokens that one epoch computes: as tries, each unit by itself, each sequence that no other continues.
                "tokens": flat,
                "tokens_of_units_alone": alone,
                "saved": alone - flat,
                "saved_share": round(1 - flat / alone, 4),
                "tokens_of_longest_sequences": sequences,
                "saved_share_of_longest_sequences": round(1 - flat / sequences, 4),
            },
            "settings": {**self.settings.known(), "dtype": self.dtype},
            "loss": [entry["loss"] for entry in progress.log],
            "log": progress.log,
        }

    def save(self) -> None:
        """Checkpoint and report, each whole or not at all."""
        import torch

        self.out.mkdir(parents=True, exist_ok=True)
        fresh = self.out / "checkpoint.pt.new"
        torch.save({**self.learner.state(), "progress": vars(self.progress), "training": self._identity()}, fresh)
        os.replace(fresh, self.out / "checkpoint.pt")
        written = self.out / "report.json.new"
        written.write_text(json.dumps(self.report()), encoding="utf-8")
        os.replace(written, self.out / "report.json")

    # Steps ----------------------------------------------------------------------------------------------------------

    def _step(self) -> dict[str, float]:
        from reasonflow.optimizers.trie_sft.rows import pack, row_of

        progress, settings = self.progress, self.settings
        tries = [self.data.tries[number] for number in self._batch(progress.steps)]
        # A dense mask costs the square of the width, so that a processor is quicker with narrow rows.
        widest = settings.row_tokens if self.device == "cuda" else max(map(len, tries))
        rows = [row_of(row, self._width(sum(map(len, row)))) for row in pack(tries, widest)]
        scale = settings.scale(progress.steps, self.steps)
        loss = self.learner.step(rows, scale)
        tokens = sum(map(len, tries))
        progress.steps, progress.tokens = progress.steps + 1, progress.tokens + tokens
        progress.learned += sum(len(row.labels) for row in rows)
        entry = {"step": progress.steps, "loss": round(loss, 6), "lr": settings.lr * scale, "tokens": tokens}
        progress.log.append(entry)
        return entry

    def _batch(self, step: int) -> list[int]:
        """Which trajectories a step reads: an epoch's order depends on its number and the seed alone."""
        epoch, number = divmod(step, self.batches)
        if self._order is None or self._order[0] != epoch:
            order = list(range(len(self.data.tries)))
            Random(f"{self.settings.seed}/{epoch}").shuffle(order)
            self._order = epoch, order
        return self._order[1][number * self.settings.batch :][: self.settings.batch]

    def _width(self, used: int) -> int | None:
        if self.device == "cpu":
            return None
        quarter = -(-self.settings.row_tokens // (_WIDTHS * _BLOCK)) * _BLOCK
        return -(-used // quarter) * quarter

    # Beginning ------------------------------------------------------------------------------------------------------

    def _read(self, sources: Sequence[Source]) -> Data:
        reader = Reader(
            tokenizer=HfTokenizer(self.files),
            end=end_of_turn(self.files, HfTokenizer(self.files).encode),
            vocabulary=int(self.files.config["vocab_size"]),
            dialect=DIALECTS[self.settings.dialect],
            longest=self.settings.row_tokens,
            window=self.files.window,
        )
        data = reader.read(sources, self.workers)
        skipped = ", ".join(f"{count} {reason}" for reason, count in data.dropped.items()) or "none"
        self.say(f"{len(data.tries)} trajectories, {sum(map(len, data.tries)):,} tokens as tries; skipped: {skipped}")
        return data

    def _learner(self) -> Any:
        import torch

        from reasonflow.optimizers.trie_sft.learner import Learner

        settings = self.settings
        model = open_model(self.files, self.device, frozen=getattr(torch, self.dtype) if settings.lora_rank else None)
        if settings.lora_rank:
            torch.manual_seed(settings.seed)
            model = with_lora(model, settings.lora_rank)
        recompute = settings.recompute if settings.recompute is not None else self.device == "cuda"
        return Learner(model, settings, device=self.device, dtype=self.dtype, recompute=recompute)

    def _identity(self) -> dict[str, Any]:
        """What must not change when a training goes on."""
        known = {**self.settings.known(), "dtype": self.dtype}
        return {**known, "model": self.files.digest, "data": self.data.digest}

    def _restore(self) -> None:
        import torch

        path = self.out / "checkpoint.pt"
        if not path.is_file():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        there, here = saved["training"], self._identity()
        if there != here:
            changed = [
                f"{name} {there.get(name)} there, {here[name]} here" for name in here if there.get(name) != here[name]
            ]
            raise InputError(
                f"{path} is the checkpoint of another training",
                why="; ".join(changed),
                fix="give the same settings and data, or name another folder",
            )
        self.learner.restore(saved)
        self.progress = Progress(**saved["progress"])
        self.say(f"goes on at step {self.progress.steps} of {self.steps}")


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
