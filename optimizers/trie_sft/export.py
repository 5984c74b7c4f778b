"""A trained model as engines load it: weights in shards, its configuration, and the small files of the one it was."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from reasonflow.backends.model_files import ModelFiles
from reasonflow.optimizers.trie_sft.models import open_model

_SMALL, _SHARD, _LARGE_SHARD = 64 * 2**20, "4MB", "4GB"
"""A model of at most so many bytes is written in shards of 4 MB, which fit where files are kept small; larger ones in
shards of 4 GB."""
_TAKEN_ALONG = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip


def export(model: Any, files: ModelFiles, folder: Path, *, adapter: Path | None = None) -> None:
    """Write a model's folder.

    model: the causal LM itself, or what peft made of it, whose adapter goes into a folder of its own.
    files: of the model that training began with. An adapter is merged into that model's weights in float32, before
    anything is rounded to the type they are written in.
    """
    if adapter is None:
        _write(model, files, folder)
        return
    from peft import PeftModel

    model.save_pretrained(adapter)
    merged = PeftModel.from_pretrained(open_model(files), adapter).merge_and_unload()
    _write(merged, files, folder)
    _readable(adapter)


def _write(model: Any, files: ModelFiles, folder: Path) -> None:
    """Files of an earlier export go first, so that no shard of it is left."""
    import torch

    small = {name: path.read_bytes() for name in _TAKEN_ALONG if (path := files.folder / name).is_file()}
    dtype = str(files.config.get("dtype") or files.config.get("torch_dtype") or "bfloat16")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        old.unlink()
    plain = type(model)(copy.deepcopy(model.config))
    plain.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    plain = plain.to(getattr(torch, dtype))
    plain.config.dtype = dtype
    size = sum(weight.nbytes for weight in plain.parameters())
    plain.save_pretrained(folder, max_shard_size=_SHARD if size <= _SMALL else _LARGE_SHARD)
    for name, content in small.items():
        (folder / name).write_bytes(content)
    _readable(folder)


def _readable(folder: Path) -> None:
    """safetensors writes private files."""
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(0o644)
