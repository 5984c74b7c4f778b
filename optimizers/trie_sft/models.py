"""The causal language models that can be trained on tries, opened with the attention that takes their masks."""

from __future__ import annotations

from typing import Any

from reasonflow.backends.model_files import ModelFiles
from reasonflow.errors import InputError

FAMILIES = ("llama", "qwen2", "qwen3")
"""Their attention takes a mask and positions as they are given, and depends on nothing else."""


def check(files: ModelFiles) -> None:
    """Raises InputError for a model that cannot be trained on tries."""
    family, kinds = files.config.get("model_type"), set(files.config.get("layer_types") or ())
    if family not in FAMILIES:
        raise InputError(
            f"the model {files.name!r} is of the family {family!r}",
            why="its attention may depend on more than a mask and positions",
            fix=f"train one of {', '.join(FAMILIES)}",
        )
    if kinds - {"full_attention"} or files.config.get("use_sliding_window"):
        raise InputError(
            f"the model {files.name!r} has layers with a sliding window",
            why="in a trie the tokens near a place are not those in front of it",
            fix="train a model with full attention",
        )


def end_of_turn(files: ModelFiles, encode: Any) -> tuple[int, ...]:
    """The id that ends the assistant's turn: the tokenizer's eos_token, else the first that the model stops at."""
    named = files.json("tokenizer_config.json").get("eos_token")
    text = named.get("content") if isinstance(named, dict) else named
    if text:
        return tuple(encode(text))
    stops = files.json("generation_config.json").get("eos_token_id", files.config.get("eos_token_id"))
    if stops is None:
        raise InputError(
            f"the model {files.name!r} does not say what ends a turn",
            why="neither tokenizer_config.json nor generation_config.json nor config.json names an end",
            fix="add eos_token to its tokenizer_config.json",
        )
    return (int(stops[0] if isinstance(stops, list) else stops),)


def open_model(files: ModelFiles, device: str = "cpu", *, frozen: Any = None) -> Any:
    """The model with float32 weights; ready for tries: FlexAttention on a GPU, a dense mask on a processor.

    frozen: the torch dtype of weights that are not trained themselves (LoRA).
    """
    import torch
    from transformers import AutoModelForCausalLM

    from reasonflow.optimizers.trie_sft.attention import FLEX, register

    check(files)
    model = AutoModelForCausalLM.from_pretrained(
        files.source, dtype=frozen or torch.float32, attn_implementation="sdpa", attention_dropout=0.0
    ).to(device)
    if device == "cuda":
        register()
        model.config._attn_implementation = FLEX
    return model


def with_lora(model: Any, rank: int) -> Any:
    """The model as peft wraps it: adapters of that rank, in float32, on every matrix inside of its layers.

    The updates are scaled by 2 (alpha = 2 * rank), and the second matrix of each begins at zero, as peft has it.
    """
    from peft import LoraConfig, get_peft_model

    # Not the output embeddings: their logits are computed by themselves, and tied ones are the input's too.
    settings = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, settings)
