"""What this machine is: its processor, its memory, its GPUs. Found without importing an engine or torch."""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")
DEVICE_FILES = Path("/dev")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU. Sizes are in bytes, infinite where its driver cannot be asked."""

    name: str
    memory_total: float = math.inf
    memory_free: float = math.inf


def device_name(device: Device) -> str:
    """For people and fingerprints: the first GPU's name, or the processor's."""
    if device == "cuda":
        return next((gpu.name for gpu in gpus()), "cuda")
    return f"cpu: {_cpu_entry('model name') or platform.machine()}"


def cpu_flags() -> frozenset[str]:
    """The first processor's features as the kernel spells them; empty where it does not list them."""
    return frozenset(_cpu_entry("flags", "Features").split())  # x86's word, Arm's word


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def memory() -> tuple[int | None, int | None]:
    """(total, available) bytes for a new process, a container's limit included; None where the system does not say."""
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in _entries(MEMORY_INFO).items()}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    limit, used = (next(iter(_lines(CONTROL_GROUP / name)), "") for name in ("memory.max", "memory.current"))
    if total is not None and available is not None and limit.isdigit() and used.isdigit():
        total, available = min(total, int(limit)), min(available, max(0, int(limit) - int(used) + _reclaimable()))
    return total, available


def cpu_memory_free() -> float:
    """Bytes an engine could take; infinite where the system does not say."""
    available = memory()[1]
    return math.inf if available is None else float(available)


def gpu_memory() -> tuple[float, float]:
    """(total, free) bytes of the first GPU; infinite where its driver cannot be asked."""
    first = next(iter(gpus()), Gpu("unknown"))
    return first.memory_total, first.memory_free


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is here, its driver working or not."""
    return bool(_device_files()) or bool(gpus())


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that the driver reports, through NVML or the driver's own tool: CUDA would take memory here.

    Where neither is installed, one without a name for each of the kernel's device files.
    """
    found = _from_nvml()
    if found is None:
        found = _from_tool()
    return tuple(Gpu("NVIDIA GPU") for _ in _device_files()) if found is None else found


def _from_nvml() -> tuple[Gpu, ...] | None:
    """None where NVML, or the Python package for it, is missing."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]

        pynvml.nvmlInit()
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            size = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(Gpu(str(pynvml.nvmlDeviceGetName(handle)), float(size.total), float(size.free)))
        return tuple(found)
    except Exception:  # NVML's own errors have no common base outside the package that may be missing
        return None


def _from_tool() -> tuple[Gpu, ...] | None:
    """None without the tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.total,memory.free,name", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return ()  # a driver that hangs serves no engine either
    if listed.returncode != 0:
        return ()
    rows = [[cell.strip() for cell in line.split(",", 2)] for line in listed.stdout.splitlines() if line.strip()]
    return tuple(Gpu(name, _mib(total), _mib(free)) for total, free, name in rows)


def _mib(cell: str) -> float:
    return float(cell) * _MIB if cell.isdigit() else math.inf  # "[N/A]": memory shared with the processor


def _device_files() -> list[Path]:
    return sorted(DEVICE_FILES.glob("nvidia[0-9]*"))


def _reclaimable() -> int:
    """Bytes of the control group's page cache that nobody uses: the kernel counts them as used, and gives them up."""
    entries = (line.partition(" ") for line in _lines(CONTROL_GROUP / "memory.stat"))
    return next((int(size) for name, _, size in entries if name == "inactive_file"), 0)


def _cpu_entry(*names: str) -> str:
    """The first of `names` that /proc/cpuinfo gives; empty elsewhere than on Linux."""
    entries = _entries(CPU_INFO)
    return next((entries[name] for name in names if name in entries), "")


def _entries(file: Path) -> dict[str, str]:
    """Lines `name: value`; of lines with the same name the first."""
    found: dict[str, str] = {}
    for line in _lines(file):
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _lines(file: Path) -> list[str]:
    """Empty where the system has no such file."""
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
