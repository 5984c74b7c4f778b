"""A short training of the built-in model on a processor: it shows that every part works, not that much is learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.optimizers.trie_sft.models import end_of_turn, open_model
from reasonflow.optimizers.trie_sft.run import TrieSFT
from reasonflow.optimizers.trie_sft.settings import Settings
from reasonflow.optimizers.trie_sft.sums import trajectories
from reasonflow.optimizers.trie_sft.units import units_of

SETTINGS = Settings(epochs=2, lr=5e-4, batch=8, row_tokens=2048, warmup=0.1)
TRAJECTORIES = 32
_CHECKED = 3
"""Trajectories whose units are compared."""


def smoke(
    out: Path,
    say: Callable[[str], None],
    *,
    settings: Settings = SETTINGS,
    seconds: float | None = None,
    device: str = "cpu",
) -> Any:
    """Train, stop half-way, go on, export; the report says what was seen. The folder is begun anew.

    seconds: after so many no step is begun. device: of the training; logits are compared on a processor, in float32.
    """
    from reasonflow.optimizers.trie_sft.equivalence import TOLERANCE, largest_difference

    deadline = time.monotonic() + (seconds if seconds is not None else float("inf"))
    (out / "checkpoint.pt").unlink(missing_ok=True)
    rows = trajectories(TRAJECTORIES, settings.seed)
    first = TrieSFT("embedded", rows, out, settings, device=device, say=say)
    tokenizer = HfTokenizer(first.files)
    end = end_of_turn(first.files, tokenizer.encode)
    units = [units_of(tokenizer.render(row["messages"]), row["text"], tokenizer, end=end) for row in rows[:_CHECKED]]
    model = first.learner.core if device == "cpu" else open_model(first.files)
    difference = max(largest_difference(model, each) for each in units)
    say(
        f"equivalence: the logits of {sum(map(len, units))} units alone and in their tries differ by {difference:.1e} "
        f"at most; {TOLERANCE:.0e} is allowed"
    )
    first.fit(steps=first.steps // 2, seconds=deadline - time.monotonic())
    say("stopped; a new process would do as the next line does")
    training = TrieSFT("embedded", rows, out, settings, device=device, say=say)
    training.fit(seconds=deadline - time.monotonic())
    exported = training.export()
    return {
        **training.report(),
        "equivalence": {"largest_difference": difference, "tolerance": TOLERANCE, "holds": difference <= TOLERANCE},
        "resumed_at_step": first.progress.steps,
        "exported": str(exported),
    }
