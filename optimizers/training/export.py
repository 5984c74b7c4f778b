"""A trained model as engines load it: bfloat16 safetensors in shards, its configuration, its tokenizer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from reasonflow.optimizers.training.examples import Curriculum

SHARD = "4MB"
"""Of weights at most in one file."""
LONGEST = 768
"""Tokens of an answer at most, where nobody says otherwise."""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def export(model: Any, folder: Path, curriculum: Curriculum) -> None:
    """Write the model's folder. Files of an earlier export go first, so that no shard of it is left."""
    import torch
    from transformers import GenerationConfig

    files = {name: (curriculum.folder / name).read_bytes() for name in _TOKENIZER}
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        old.unlink()
    plain = type(model)(copy.deepcopy(model.config))
    plain.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    plain = plain.to(torch.bfloat16)
    plain.config.dtype = "bfloat16"
    plain.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        max_new_tokens=LONGEST,
        eos_token_id=list(curriculum.stop),
        pad_token_id=model.config.pad_token_id,
    )
    plain.save_pretrained(folder, max_shard_size=SHARD)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes private files
