"""A folder that `reasonflow eval --out` left, read without touching it: it may still be written to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reasonflow.errors import InputError
from reasonflow.evals.at_k.matrix import SampleMatrix, matrix_of
from reasonflow.evals.manifest import FILE as MANIFEST
from reasonflow.evals.manifest import Manifest
from reasonflow.evals.runner import wall_s
from reasonflow.evals.samples import FILE as SAMPLES
from reasonflow.evals.samples import Sample, read_samples

_LISTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """An evaluation as it was recorded, as far as it went."""

    path: Path
    manifest: Manifest
    samples: tuple[Sample, ...]
    """In the order in which they ended; at least one."""
    planned: int
    """How many samples were asked for."""

    @property
    def unfinished(self) -> str:
        """What is missing, in words; empty where nothing is."""
        if len(self.samples) >= self.planned:
            return ""
        return f"{self.path} is unfinished: {len(self.samples)} of {self.planned} samples"

    @property
    def matrix(self) -> SampleMatrix:
        """Its samples by problem."""
        return matrix_of(self.samples)

    @property
    def wall_s(self) -> float:
        """Seconds of all sessions, without the engine's start."""
        return wall_s(self.samples)


def read_run(path: Path) -> RunFolder:
    """What the folder holds. Raises InputError where it is none of an evaluation, or holds no sample yet."""
    if not path.is_dir():
        what = f"{path} is a file" if path.exists() else f"there is no folder {path}"
        raise InputError(what, fix="name a folder that `reasonflow eval --out` has made")
    if not (path / MANIFEST).is_file():
        inner = sorted(str(each.parent) for each in path.glob(f"*/{MANIFEST}"))
        inner += sorted(str(each.parent) for each in path.glob(f"*/*/{MANIFEST}"))
        below = f"name one of those below it: {', '.join(inner[:_LISTED])}{', ...' if len(inner) > _LISTED else ''}"
        raise InputError(
            f"{path} is not the folder of an evaluation",
            why=f"it has no {MANIFEST}",
            fix=below if inner else "name a folder that `reasonflow eval --out` has made",
        )
    manifest, planned = _manifest(path / MANIFEST)
    samples = read_samples(path / SAMPLES, growing=True) if (path / SAMPLES).is_file() else []
    if not samples:
        raise InputError(f"{path} holds no sample yet", why="its evaluation has not got that far", fix="let it run on")
    return RunFolder(path=path, manifest=manifest, samples=tuple(samples), planned=planned)


def _manifest(path: Path) -> tuple[Manifest, int]:
    """What it is of, and how many samples that makes."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return manifest, int(manifest["problems"]) * int(manifest["samples"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is damaged", why=f"{type(error).__name__}: {error}", fix="run that evaluation again"
        ) from error
