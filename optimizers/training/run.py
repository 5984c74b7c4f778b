"""A recipe carried out, stage by stage; stopped at any time it goes on where its last checkpoint stands."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from reasonflow.errors import InputError, UnknownName
from reasonflow.optimizers.training.examples import Curriculum
from reasonflow.optimizers.training.recipe import Draft, Recipe, Train

_LOG_EVERY = 25
"""Steps between two lines of the log."""
_FIRST_SEED = 1_000


@dataclass
class Progress:
    """How far a training is; saved with every checkpoint."""

    stage: int = 0
    """Number of the stage that is under way."""
    stage_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    resumed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage, by number and name."""
    log: list[dict[str, float]] = field(default_factory=list)
    """The loss curve: steps, tokens, loss, tokens/s."""
    drafts: dict[str, dict[str, float]] = field(default_factory=dict)
    """What each draft stage wrote."""


class Training:
    """One recipe in one folder.

    out: checkpoint, drafts, report. deadline: of time.monotonic(); at it a checkpoint is written and the run ends.
    attention: "flex_attention" or "sdpa"; the first on a GPU if not given. say: gets a line for whoever watches.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        deadline: float = float("inf"),
        device: str = "cpu",
        workers: int = 0,
        compiled: bool = True,
        attention: str | None = None,
        seed: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.out, self.deadline, self.device = recipe, out, deadline, device
        self.workers, self.seed, self.say = workers, seed, say
        self.curriculum = curriculum_named(recipe.curriculum)
        self.began = time.monotonic()
        from reasonflow.optimizers.training.learner import Learner

        if self.curriculum.vocabulary > recipe.model.vocabulary:
            raise InputError(
                f"the model has {recipe.model.vocabulary} tokens and its curriculum {self.curriculum.vocabulary}",
                fix="name a recipe whose model has them all",
            )
        attention = attention or ("flex_attention" if device == "cuda" else "sdpa")
        model = recipe.model.build(end=self.curriculum.stop[0], attention=attention, seed=seed)
        self.learner = Learner(model, lr=recipe.lr, device=device, compiled=compiled)
        self.progress = Progress()
        self._restore()

    def run(self) -> bool:
        """Whether the recipe is finished; False where the deadline came first."""
        while self.progress.stage < len(self.recipe.stages):
            stage, number = self.recipe.stages[self.progress.stage], self.progress.stage
            began = time.monotonic()
            done = self._train(stage, number) if isinstance(stage, Train) else self._draft(stage)
            label = f"{number} {stage.name}"
            spent = self.progress.seconds.get(label, 0.0) + time.monotonic() - began
            self.progress.seconds[label] = spent
            if done:
                self.progress.stage, self.progress.stage_tokens = number + 1, 0
            self.save()
            if not done:
                return False
        return True

    def export(self, folder: Path) -> None:
        """The model as it is now, for engines."""
        from reasonflow.optimizers.training.export import export

        export(self.learner.model, folder, self.curriculum)

    def report(self) -> dict[str, Any]:
        """Tokens, speeds, minutes of each stage, the loss curve, and what the drafts were like."""
        progress = self.progress
        return {
            "parameters": self.recipe.model.parameters,
            "tokens": progress.tokens,
            "steps": progress.steps,
            "minutes": {name: round(seconds / 60, 3) for name, seconds in progress.seconds.items()},
            "drafts": progress.drafts,
            "log": progress.log,
        }

    def save(self) -> None:
        """Checkpoint and report, each whole or not at all."""
        import torch

        self.out.mkdir(parents=True, exist_ok=True)
        fresh = self.out / "checkpoint.pt.new"
        torch.save({"learner": self.learner.state(), "progress": self.progress.__dict__}, fresh)
        os.replace(fresh, self.out / "checkpoint.pt")
        written = self.out / "report.json.new"
        written.write_text(json.dumps(self.report()), encoding="utf-8")
        os.replace(written, self.out / "report.json")

    def _restore(self) -> None:
        import torch

        path = self.out / "checkpoint.pt"
        if not path.is_file():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.learner.restore(saved["learner"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{path} is a checkpoint of another model", why=str(error), fix="name another --out, or remove it"
            ) from error
        self.progress = Progress(**saved["progress"])
        self.progress.resumed += 1
        self.say(f"goes on at stage {self.progress.stage}, {self.progress.tokens:,} tokens")

    def _train(self, stage: Train, number: int) -> bool:
        import torch

        from reasonflow.optimizers.training.packing import batches

        progress, recipe = self.progress, self.recipe
        seed = _FIRST_SEED * (number + 1) + 100 * progress.resumed + self.seed * 100_000
        drafts = self.out / stage.drafts if stage.drafts else None
        stream = batches(
            self.curriculum,
            stage.name,
            seed=seed,
            rows=recipe.rows,
            width=recipe.width,
            workers=self.workers,
            drafts=drafts,
            evened=stage.evened,
        )
        size = recipe.rows * recipe.width
        losses: list[Any] = []
        since, waited, label = time.monotonic(), 0.0, f"{number} {stage.name}"
        while progress.stage_tokens < stage.tokens:
            if time.monotonic() > self.deadline:
                return False
            asked = time.monotonic()
            rows = next(stream)
            waited += time.monotonic() - asked
            losses.append(self.learner.step(rows, recipe.scale(progress.tokens)))
            progress.tokens, progress.stage_tokens = progress.tokens + size, progress.stage_tokens + size
            progress.steps += 1
            last = progress.stage_tokens >= stage.tokens
            if len(losses) == _LOG_EVERY or last:
                loss = float(torch.stack(losses).mean())
                now = time.monotonic()
                entry = {
                    "stage": number,
                    "step": progress.steps,
                    "tokens": progress.tokens,
                    "loss": round(loss, 5),
                    "tokens_per_s": round(len(losses) * size / (now - since)),
                    "waited": round(waited / (now - since), 3),
                    "at_s": round(now - self.began, 1),
                }
                progress.log.append(entry)
                self.say(f"{label}: " + " ".join(f"{key}={value:g}" for key, value in entry.items() if key != "stage"))
                losses, since, waited = [], now, 0.0
        return True

    def _draft(self, stage: Draft) -> bool:
        from reasonflow.optimizers.training.sampling import sample

        began = time.monotonic()
        folder = self.out / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [
            question
            for question, times in self.curriculum.questions(stage.name, self.seed, stage.questions)
            for _ in range(times)
        ]
        self.say(f"{stage.name}: {len(wanted)} prompts after {time.monotonic() - began:.1f} s")
        found: dict[str, list[str]] = {}
        tokens = 0
        for address, completion in sample(
            self.learner.model,
            wanted,
            stop=self.curriculum.stop,
            longest=self.recipe.longest,
            seed=self.seed + self.progress.stage,
        ):
            found.setdefault(address, []).append(self.curriculum.decode(completion))
            tokens += len(completion)
        with (folder / "drafts.jsonl").open("w", encoding="utf-8") as file:
            for address, drafts in found.items():
                file.write(json.dumps({"address": address, "drafts": drafts}, ensure_ascii=False) + "\n")
        seconds = time.monotonic() - began
        about = self.curriculum.about(folder)
        self.progress.drafts[stage.name] = {"tokens": tokens, "tokens_per_s": round(tokens / seconds), **about}
        self.say(f"{stage.name}: {json.dumps(self.progress.drafts[stage.name])} in {seconds:.1f} s")
        return True


def curriculum_named(name: str) -> Curriculum:
    """The object that `module:attribute` names. Raises UnknownName where there is none."""
    module, _, attribute = name.partition(":")
    try:
        return cast(Curriculum, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownName(
            f"no curriculum {name!r}", why=str(error), fix="write module:attribute, of something that can be imported"
        ) from error
