"""What an engine is asked for, without asking one."""

from __future__ import annotations

from typing import Any

import pytest

from reasonflow.backends import facts, hardware
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.vllm import VllmBackend
from reasonflow.backends.vllm_settings import GIB, VllmSettings
from reasonflow.errors import EngineStartError, InputError, UnknownName


def settings(device: hardware.Device = "cpu", **options: Any) -> VllmSettings:
    return VllmSettings(files=ModelFiles("embedded"), device=device, **options)


def test_the_cpu_engine_is_eager_small_and_in_small_blocks() -> None:
    arguments = settings().arguments()
    assert arguments["enforce_eager"] is True
    assert arguments["block_size"] == 32
    assert arguments["kv_cache_memory_bytes"] == 2 * GIB
    assert arguments["max_model_len"] == 8192
    assert arguments["dtype"] in ("bfloat16", "float32")
    assert arguments["scheduling_policy"] == "priority"


def test_what_an_engine_is_made_of_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def installed(names: object) -> dict[str, str]:
        read.append(names)
        return {}

    monkeypatch.setattr(facts, "installed", installed)
    backend = VllmBackend("embedded")
    first, before = backend.fingerprint(), len(read)
    assert backend.fingerprint() == first
    assert len(read) == before


def test_the_gpu_engine_uses_graphs_and_chooses_its_own_blocks() -> None:
    arguments = settings("cuda").arguments()
    graphs = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
    assert arguments["compilation_config"] == graphs
    assert arguments["max_num_seqs"] == 256
    assert arguments["max_num_batched_tokens"] == 8192
    assert arguments["dtype"] == "auto"
    assert not {"block_size", "kv_cache_memory_bytes", "enforce_eager"} & arguments.keys()


def test_what_the_user_says_wins() -> None:
    asked = settings(
        max_model_len=1024, asked_block_size=64, max_num_seqs=4, kv_cache_gib=0.5, engine_options={"dtype": "float32"}
    )
    arguments = asked.arguments()
    assert (asked.window, asked.block_size, asked.max_running, asked.dtype) == (1024, 64, 4, "float32")
    assert arguments["kv_cache_memory_bytes"] == GIB // 2
    assert (arguments["max_model_len"], arguments["block_size"], arguments["dtype"]) == (1024, 64, "float32")


@pytest.mark.engine
def test_an_unknown_engine_option_is_answered_with_the_nearest_of_vllms() -> None:
    with pytest.raises(UnknownName, match="did you mean 'enforce_eager'"):
        settings(engine_options={"enforce_eagr": True})
    settings(engine_options={"enable_lora": True})


def test_arguments_we_depend_on_are_refused() -> None:
    with pytest.raises(InputError, match="disable_log_stats"):
        settings(engine_options={"disable_log_stats": True})


def test_the_environment_is_told_to_stay_in_one_process_or_not() -> None:
    assert settings().environment(in_process=True)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    variables = settings("cuda").environment(in_process=False)
    assert variables["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert variables["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_a_second_engine_that_does_not_fit_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_memory_free", lambda: 3.0 * GIB)
    monkeypatch.setattr(hardware, "gpu_memory", lambda: (80.0 * GIB, 8.0 * GIB))
    settings().check_room([])
    for device in ("cpu", "cuda"):
        with pytest.raises(EngineStartError, match=r"lm\.engine\.close\(\)") as caught:
            settings(device).check_room(["Qwen/Qwen3-8B"])  # type: ignore[arg-type]
        assert "Qwen/Qwen3-8B" in caught.value.what
    settings(kv_cache_gib=0.25).check_room(["Qwen/Qwen3-8B"])
