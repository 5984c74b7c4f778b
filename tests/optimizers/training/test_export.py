"""What is exported loads again, says the same, and is all that lies in the folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.optimizers.training.export import export  # noqa: E402
from reasonflow.optimizers.training.shape import Shape  # noqa: E402
from tests.optimizers.training.counting import COUNTING, END  # noqa: E402

SHAPE = Shape(layers=4, hidden=256, heads=4, kv_heads=2, ffn=768, vocabulary=1920)
"""Large enough for several shards."""


def test_an_export_loads_again(tmp_path: Path) -> None:
    model = SHAPE.build(end=END, attention="sdpa", seed=0).eval()
    export(model, tmp_path, COUNTING)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert loaded.dtype == torch.bfloat16
    tokens = torch.arange(1, 49)[None]
    with torch.no_grad():
        for param in model.parameters():
            param.data = param.data.bfloat16()
        assert torch.equal(loaded(input_ids=tokens).logits, model(input_ids=tokens).logits)


def test_configurations_tell_engines_what_they_need(tmp_path: Path) -> None:
    model = SHAPE.build(end=END, attention="sdpa", seed=0)
    export(model, tmp_path, COUNTING)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert (config["dtype"], config["eos_token_id"], config["tie_word_embeddings"]) == ("bfloat16", END, True)
    sampling = json.loads((tmp_path / "generation_config.json").read_text())
    assert (sampling["eos_token_id"], sampling["do_sample"], sampling["temperature"]) == ([END], True, 1.0)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (COUNTING.folder / name).read_bytes()
    assert model.dtype == torch.float32


def test_shards_are_small_and_none_is_left_of_before(tmp_path: Path) -> None:
    export(SHAPE.build(end=END, attention="sdpa", seed=0), tmp_path, COUNTING)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    assert all(shard.stat().st_size < 4.1e6 for shard in shards)
    small = replace(SHAPE, layers=1)
    export(small.build(end=END, attention="sdpa", seed=0), tmp_path, COUNTING)
    assert [file.name for file in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
