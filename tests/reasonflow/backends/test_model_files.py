"""What a model's folder tells before any engine starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasonflow.backends import model_files
from reasonflow.backends.model_files import ModelFiles, resolve
from reasonflow.errors import EngineStartError, UnknownName


def folder_with(path: Path, **config: Any) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_names_folders_and_repositories_resolve(tmp_path: Path) -> None:
    for name in ("embedded", "embedded-draft"):
        assert (Path(resolve(name)).name, (Path(resolve(name)) / "config.json").is_file()) == (name, True)
    assert resolve(str(folder_with(tmp_path))) == str(tmp_path)
    assert resolve("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'embedded'"):
        resolve("embeded")


def test_a_folder_that_is_missing_or_no_model_cannot_start(tmp_path: Path) -> None:
    for name in (str(tmp_path / "gone"), str(tmp_path), "./gone", "~/gone/too"):
        with pytest.raises(EngineStartError, match="reasonflow doctor"):
            resolve(name)
    (tmp_path / "model.gguf").write_text("")
    with pytest.raises(EngineStartError, match="is a file"):
        resolve(str(tmp_path / "model.gguf"))


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineStartError, match=r"config\.json is not valid JSON"):
        _ = ModelFiles(str(tmp_path)).window


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"text_config": {"max_position_embeddings": 2048}}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2}}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 4096),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({}, None),
    ],
)
def test_the_window_is_derived_as_vllm_derives_it(tmp_path: Path, config: dict[str, Any], window: int | None) -> None:
    assert ModelFiles(str(folder_with(tmp_path, **config))).window == window


def test_the_tokenizers_limit_counts_too(tmp_path: Path) -> None:
    folder_with(tmp_path, max_position_embeddings=4096)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))
    assert ModelFiles(str(tmp_path)).window == 512


def test_the_digest_sees_another_configuration_and_other_weights(tmp_path: Path) -> None:
    first = ModelFiles(str(folder_with(tmp_path, a=1))).digest
    second = ModelFiles(str(folder_with(tmp_path, a=2))).digest
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + b"x")
    third = ModelFiles(str(tmp_path)).digest
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + b"y")
    trained_again = ModelFiles(str(tmp_path)).digest
    assert len({first, second, third, trained_again}) == 4


def test_the_digest_of_a_large_model_reads_its_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_READ_WHOLE", 10)
    folder_with(tmp_path)
    digests = []
    for header, bulk in ((b"{}", b"x"), (b"{}", b"y"), (b"[]", b"y")):
        (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + header + bulk)
        digests.append(ModelFiles(str(tmp_path)).digest)
    assert digests[0] == digests[1] != digests[2]
