"""The models inside this package: `embedded`, and `embedded-draft`, a smaller twin that answers directly.

They are laboratory models for one family of problems (docs/tasks.md), there so that every program runs on a real engine
without a download. `reasonflow/models/README.md` says what they are, and what they are not.
"""

from __future__ import annotations

import json
from pathlib import Path

from reasonflow.errors import InputError, UnknownName

NAMES = ("embedded", "embedded-draft")

_MODELS = Path(__file__).parents[1] / "models"
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_INDEX = "model.safetensors.index.json"


def folder_of(name: str) -> Path:
    """The folder of a built-in model, ready for an engine.

    Raises UnknownName for another name, InputError where an installation left the model's files out.
    """
    folder = place(name)
    if missing := missing_files(name):
        raise InputError(
            f"the model {name!r} is incomplete",
            why=f"{folder} has no {missing[0]}: this installation left data files of the package out",
            fix="install ReasonFlow again, from a wheel or a git clone, or name another model",
        )
    return folder


def place(name: str) -> Path:
    """Where a built-in model's files belong."""
    if name not in NAMES:
        raise UnknownName.among("built-in model", name, NAMES)
    return _MODELS / name


def missing_files(name: str) -> list[str]:
    """Files of a built-in model that are not there: of its configuration, its tokenizer, its weights."""
    folder = place(name)
    return [file for file in (*_SMALL_FILES, *_weights(folder)) if not (folder / file).is_file()]


def _weights(folder: Path) -> list[str]:
    """The files that hold its weights: one, or the shards that an index names."""
    index = folder / _INDEX
    if not index.is_file():
        return ["model.safetensors"]
    return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
