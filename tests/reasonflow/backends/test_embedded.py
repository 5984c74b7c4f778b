"""The embedded model: converted once, faithfully, whoever asks first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reasonflow.backends import embedded
from reasonflow.backends.embedded import embedded_model
from reasonflow.errors import InputError


@pytest.fixture(scope="module")
def folder() -> Path:
    return embedded_model()


def test_the_folder_holds_what_an_engine_needs_and_is_made_once(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert embedded_model() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_the_weights_are_complete_and_of_the_shapes_the_configuration_promises(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    tensors = _header(folder / "model.safetensors")
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    assert len(tensors) == 9 * layers + 2
    assert tensors["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], width]
    assert tensors["model.layers.0.self_attn.k_proj.weight"]["shape"] == [
        config["num_key_value_heads"] * config["head_dim"],
        width,
    ]
    assert tensors["model.layers.0.mlp.down_proj.weight"]["shape"] == [width, config["intermediate_size"]]
    ends = sorted(tensor["data_offsets"][1] for tensor in tensors.values())
    header_bytes = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    assert ends[-1] + 8 + header_bytes == (folder / "model.safetensors").stat().st_size


def test_a_turn_ends_where_the_model_was_trained_to_end_it(folder: Path) -> None:
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


def test_bfloat16_rounds_to_nearest_and_ties_to_even() -> None:
    values = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-8 + 2**-16, -2.5], dtype=np.float32)
    back = (embedded._bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32)
    assert back.tolist() == [1.0, 1.0, 1.0 + 4 * 2**-8, 1.0 + 2 * 2**-8, -2.5]


def test_unpermute_undoes_the_interleaving_of_rotary_halves() -> None:
    heads, head_dim, inputs = 3, 8, 5
    weight = np.arange(heads * head_dim * inputs, dtype=np.float32).reshape(heads * head_dim, inputs)
    interleaved = weight.reshape(heads, 2, head_dim // 2, inputs).swapaxes(1, 2).reshape(weight.shape)
    assert not np.array_equal(interleaved, weight)
    assert np.array_equal(embedded._unpermute(interleaved, heads), weight)


def test_two_processes_convert_it_once(tmp_path: Path) -> None:
    script = (
        "import sys, reasonflow.backends.embedded as e; from pathlib import Path; convert = e._convert\n"
        "def told(*a): print('converted', flush=True); convert(*a)\n"
        "e._convert = told\n"
        "assert (e.embedded_model(Path(sys.argv[1])) / 'model.safetensors').is_file()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "".join(outputs).count("converted") == 1


def test_an_interrupted_conversion_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded_model(tmp_path)
    assert [path.suffix for path in (tmp_path / "models").iterdir()] == [".lock"]


def test_a_missing_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGE", "no-such-package-of-ours")
    with pytest.raises(InputError, match="no-such-package-of-ours") as caught:
        embedded_model(tmp_path)
    assert "reasonflow doctor --fix" in caught.value.fix


def test_the_cache_follows_the_desktop_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert embedded.cache_folder() == tmp_path / "reasonflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedded.cache_folder() == tmp_path / ".cache" / "reasonflow"


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    with path.open("rb") as file:
        header: dict[str, dict[str, list[int]]] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    del header["__metadata__"]
    return header
