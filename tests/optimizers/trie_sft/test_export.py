"""A trained model loads again, with its tokenizer, and says what it said in training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from reasonflow.backends.embedded import folder_of  # noqa: E402
from reasonflow.backends.hf_tokenizer import HfTokenizer  # noqa: E402
from reasonflow.backends.model_files import ModelFiles  # noqa: E402
from reasonflow.optimizers.trie_sft import Settings, TrieSFT  # noqa: E402
from reasonflow.optimizers.trie_sft.sums import trajectories  # noqa: E402
from tests.optimizers.trie_sft.tiny import tiny  # noqa: E402

TOKENS = torch.arange(5, 60)[None]


def trained(model: str | Path, out: Path, rank: int = 0) -> TrieSFT:
    settings = Settings(lr=1e-2, batch=2, row_tokens=1024, lora_rank=rank)
    run = TrieSFT(model, trajectories(4), out, settings, device="cpu", say=lambda text: None)
    run.fit()
    run.learner.model.eval()
    return run


def test_the_built_in_model_is_written_as_it_came(tmp_path: Path) -> None:
    run = TrieSFT("embedded", trajectories(1), tmp_path, device="cpu", say=lambda text: None)
    folder = run.export()
    (folder / "model.safetensors").write_bytes(b"left of a model in one file")
    assert run.export(folder) == tmp_path / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in folder_of("embedded").iterdir()}
    assert all(path.stat().st_size < 4.1e6 for path in folder.glob("*.safetensors"))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (folder_of("embedded") / name).read_bytes()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["dtype"], config["architectures"]) == ("bfloat16", ["Qwen3ForCausalLM"])
    messages = [{"role": "user", "content": "hi"}]
    assert HfTokenizer(ModelFiles(str(folder))).render(messages) == HfTokenizer(ModelFiles("embedded")).render(messages)
    mine, original = (
        transformers.AutoModelForCausalLM.from_pretrained(each).state_dict() for each in (folder, folder_of("embedded"))
    )
    assert all(torch.equal(weight, original[name]) for name, weight in mine.items())


@pytest.mark.parametrize("rank", [0, 4], ids=["all weights", "adapters"])
@pytest.mark.parametrize("kind", ["Qwen3", "Llama"])
def test_an_export_says_what_the_trained_model_says(kind: str, rank: int, tmp_path: Path) -> None:
    base = tiny(kind, tmp_path / "base")
    run = trained(base, tmp_path / "out", rank)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "float32"
    loaded = transformers.AutoModelForCausalLM.from_pretrained(run.export()).eval()
    before = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    assert loaded.dtype == torch.float32
    with torch.no_grad():
        said, expected = loaded(input_ids=TOKENS).logits, run.learner.model(input_ids=TOKENS).logits
        assert not torch.allclose(said, before(input_ids=TOKENS).logits, atol=1e-2)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)


def test_an_adapter_is_written_too(tmp_path: Path) -> None:
    from peft import PeftModel

    base = tiny("Qwen3", tmp_path / "base")
    run = trained(base, tmp_path / "out", 4)
    run.export(tmp_path / "elsewhere")
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = PeftModel.from_pretrained(plain, tmp_path / "out" / "adapter").eval()
    with torch.no_grad():
        expected = run.learner.model(input_ids=TOKENS).logits
        torch.testing.assert_close(adapted(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=1e-4)
    assert (tmp_path / "elsewhere" / "model.safetensors").is_file()
