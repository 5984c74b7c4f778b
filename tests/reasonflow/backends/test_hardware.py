"""What a machine is, read from stand-ins for the kernel's files and the driver's tools."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from reasonflow.backends import hardware
from reasonflow.backends.hardware import Gpu

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the kernel's, empty at first; no NVML."""
    for name, folder in {
        "CPU_INFO": "cpuinfo",
        "MEMORY_INFO": "meminfo",
        "CONTROL_GROUP": "group",
        "DEVICE_FILES": "dev",
    }.items():
        monkeypatch.setattr(hardware, name, tmp_path / folder)
    (tmp_path / "group").mkdir()
    (tmp_path / "dev").mkdir()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def nvidia_smi(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "flags"),
    [("flags\t\t: fpu avx2\nflags\t\t: other\n", {"fpu", "avx2"}), ("Features : asimd\n", {"asimd"}), ("", set())],
)
def test_processor_flags_are_read_in_both_spellings(kernel: Path, text: str, flags: set[str]) -> None:
    (kernel / "cpuinfo").write_text(text)
    assert hardware.cpu_flags() == flags
    assert not hardware.cpu_has_bfloat16()


def test_a_processor_is_named_and_tells_of_bfloat16(kernel: Path) -> None:
    (kernel / "cpuinfo").write_text("model name\t: Sapphire\nflags\t: amx_bf16\n\nmodel name\t: Other\n")
    assert hardware.device_name("cpu") == "cpu: Sapphire"
    assert hardware.cpu_has_bfloat16()


def test_a_system_that_says_nothing_has_no_known_limits(kernel: Path) -> None:
    assert hardware.memory() == (None, None)
    assert hardware.cpu_memory_free() == math.inf
    assert hardware.gpu_memory() == (math.inf, math.inf)
    assert not hardware.has_gpu()


def test_a_containers_limit_narrows_the_memory_and_its_unused_cache_counts_as_free(kernel: Path) -> None:
    (kernel / "meminfo").write_text(f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {50 * GIB // 1024} kB\n")
    assert hardware.memory() == (64 * GIB, 50 * GIB)
    (kernel / "group" / "memory.max").write_text("max\n")
    (kernel / "group" / "memory.current").write_text(f"{5 * GIB}\n")
    assert hardware.memory() == (64 * GIB, 50 * GIB)
    (kernel / "group" / "memory.max").write_text(f"{8 * GIB}\n")
    assert hardware.memory() == (8 * GIB, 3 * GIB)
    (kernel / "group" / "memory.stat").write_text(f"anon {2 * GIB}\ninactive_file {3 * GIB}\n")
    assert hardware.memory() == (8 * GIB, 6 * GIB)
    assert hardware.cpu_memory_free() == 6 * GIB


def test_gpus_are_listed_by_the_drivers_tool(kernel: Path) -> None:
    nvidia_smi(kernel, "echo '81559, 80994, NVIDIA H100 80GB HBM3'\necho '[N/A], [N/A], NVIDIA GB10'")
    assert hardware.gpus() == (Gpu("NVIDIA H100 80GB HBM3", 81559.0 * MIB, 80994.0 * MIB), Gpu("NVIDIA GB10"))
    assert hardware.gpu_memory() == (81559.0 * MIB, 80994.0 * MIB)
    assert hardware.device_name("cuda") == "NVIDIA H100 80GB HBM3"
    assert hardware.has_gpu()


def test_nvml_is_asked_before_the_tool(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=80 * GIB, free=(79 - handle) * GIB),
        nvmlDeviceGetName=lambda handle: f"H100 number {handle}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    nvidia_smi(kernel, "exit 1")
    assert [gpu.name for gpu in hardware.gpus()] == ["H100 number 0", "H100 number 1"]
    assert hardware.gpu_memory() == (80.0 * GIB, 79.0 * GIB)


def test_a_driver_that_fails_lists_no_gpu(kernel: Path) -> None:
    nvidia_smi(kernel, "echo 'no devices were found'\nexit 6")
    assert hardware.gpus() == ()
    assert not hardware.has_gpu()


def test_without_nvml_and_tool_the_kernels_device_files_count(kernel: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (kernel / "dev" / name).touch()
    assert [gpu.name for gpu in hardware.gpus()] == ["NVIDIA GPU"] * 2
    assert hardware.has_gpu()
    assert hardware.gpu_memory() == (math.inf, math.inf)
