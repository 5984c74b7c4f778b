"""Run folders as an evaluation leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reasonflow.evals.samples import Sample


def write_run(
    folder: Path,
    answers: Mapping[str, Sequence[str | None]],
    *,
    gold: str = "4",
    tokens: int = 100,
    sequential: int = 50,
    seed: int = 0,
    planned: int | None = None,
    **manifest: Any,
) -> Path:
    """A run with these answers, sample by sample, to problems of which the right answer is `gold`.

    planned: problems of the manifest. manifest: what it says of program, benchmark and the rest.
    """
    folder.mkdir(parents=True)
    samples = max(map(len, answers.values()), default=1)
    said = {"program": "P", "settings": {"n": 1}, "benchmark": "doubles", "model": "m", "seed": seed, **manifest}
    said |= {"problems": planned or len(answers), "samples": samples}
    (folder / "manifest.json").write_text(json.dumps(said))
    rows = [
        Sample(
            id=id,
            sample=index,
            seed=seed + index,
            answer=answer,
            expected=gold,
            correct=answer == gold,
            total_tokens=tokens,
            sequential_tokens=sequential,
            wall_s=2.0,
        )
        for id, row in answers.items()
        for index, answer in enumerate(row)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return folder
