"""Tiny random models in folders, with the built-in model's tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from reasonflow.backends.embedded import folder_of
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.optimizers.trie_sft.units import Unit, units_of

SIZES: dict[str, Any] = {
    "vocab_size": 1920, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 4096, "eos_token_id": 3, "pad_token_id": 0,
    "bos_token_id": None,
}  # fmt: skip


def tiny(kind: str, folder: Path) -> Path:
    """A new model of a family, "Qwen3", "Qwen2" or "Llama", as a folder."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    config.tie_word_embeddings = kind == "Qwen3"
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for weight in model.parameters():  # at their usual size random logits hardly differ
        weight.data *= 3 if weight.ndim == 2 else 1
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(folder_of("embedded") / name, folder / name)
    return folder


def units(row: dict[str, Any]) -> tuple[Unit, ...]:
    """A row's requests in the tokens of the built-in model."""
    tokenizer = HfTokenizer(ModelFiles("embedded"))
    return units_of(tokenizer.render(row["messages"]), row["text"], tokenizer, end=tokenizer.encode("<|im_end|>"))
