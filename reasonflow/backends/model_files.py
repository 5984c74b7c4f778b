"""A model's small files: where they are, and what they tell before any engine starts.

A model is named by one of ReasonFlow's own names, by a folder, or by a repository of the Hugging Face hub. Prompts can
be rendered and plans explained from the configuration and the tokenizer alone; the weights wait for an engine.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from reasonflow.backends import embedded
from reasonflow.errors import EngineStartError, UnknownName

MODELS: Mapping[str, Callable[[], Path]] = {name: partial(embedded.folder_of, name) for name in embedded.NAMES}
"""Names of our own, each with what gives its folder."""

_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]
_WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
_UNSCALED_ROPE = ("default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope")
"""Kinds of rotary scaling whose factor is already part of `max_position_embeddings`, as vLLM reads them."""
_READ_WHOLE = 64 * 2**20
"""Bytes of weights that a digest takes in completely: a tenth of a second."""


def resolve(model: str) -> str:
    """What an engine understands for `model`: a folder's path, or a repository of the hub as it is.

    Raises UnknownName for a plain name that is neither ours nor a folder, EngineStartError for a path without a model.
    """
    if model in MODELS:
        return str(MODELS[model]())
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise _no_model(model, f"the folder {folder} has no config.json")
        return str(folder.resolve())
    if folder.exists():
        raise _no_model(model, f"{folder} is a file; vLLM wants a folder with config.json and safetensors weights")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise _no_model(model, f"there is no folder {folder}")
    if "/" not in model:
        near = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
        raise UnknownName(
            f"unknown model {model!r}",
            why=f"known: {', '.join(sorted(MODELS))}; it is no folder either, nor a hub repository 'owner/name'",
            fix=f"did you mean {near[0]!r}?"
            if near
            else "use a known name, a folder, or a hub repository 'owner/name'",
        )
    return model


def _no_model(model: str, why: str) -> EngineStartError:
    return EngineStartError(
        f"{model!r} is not a model vLLM can load", why=why, fix="give another folder, or run `reasonflow doctor`"
    )


@dataclass(frozen=True)
class ModelFiles:
    """What a model's folder says without its weights. Nothing is read before it is asked for."""

    name: str
    """As the user wrote it."""

    @cached_property
    def source(self) -> str:
        """What the engine is given: a folder or a hub repository."""
        return resolve(self.name)

    @cached_property
    def folder(self) -> Path:
        """The folder with the small files; of a hub repository they are fetched into the hub's own cache."""
        here = Path(self.source)
        return here if here.is_dir() else _fetch(self.source)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """`config.json`."""
        return self.json("config.json")

    def json(self, file: str) -> Mapping[str, Any]:
        """The content of one of its JSON files; empty where there is none."""
        path = self.folder / file
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _no_model(self.name, f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise _no_model(self.name, f"{path} holds no JSON object")
        return content

    @cached_property
    def window(self) -> int | None:
        """Tokens the model was made for, as vLLM derives them; None where the files do not say."""
        config = {**self.config, **(self.config.get("text_config") or {})}
        stated = [config[key] for key in _WINDOW_KEYS if isinstance(config.get(key), int)]
        if not stated:
            return None
        rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "longrope":
            return int(config.get("original_max_position_embeddings") or min(stated))
        limit = self.json("tokenizer_config.json").get("model_max_length")
        window = min([*stated, limit] if isinstance(limit, int) else stated)
        return int(window if kind in _UNSCALED_ROPE else window * (rope.get("factor") or 1))

    @cached_property
    def digest(self) -> str:
        """A short content hash: the configuration, and the weights; of large ones their headers and sizes only.

        Small models are trained again under the same name and shape, and two of them are two models.
        """
        digest = hashlib.sha256()
        for file in ("config.json", "generation_config.json", "tokenizer.json"):
            path = self.folder / file
            digest.update(path.read_bytes() if path.is_file() else b"")
        whole = self.weight_bytes <= _READ_WHOLE
        for path in sorted(self.folder.glob("*.safetensors")):
            digest.update(f"{path.name} {path.stat().st_size}".encode())
            with path.open("rb") as weights:
                digest.update(weights.read(None if whole else 8 + _header_bytes(path)))
        return digest.hexdigest()[:16]

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of its weights on disk; 0 while they are not here."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))


def _header_bytes(weights: Path) -> int:
    with weights.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def _fetch(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=_SMALL_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineStartError(
            f"the model {repository!r} cannot be fetched",
            why=reason,
            fix="check the name, the network and your access (`hf auth login`), or run `reasonflow doctor`",
        ) from error
