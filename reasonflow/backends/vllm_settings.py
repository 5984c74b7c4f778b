"""What a vLLM engine is asked for on this machine: our defaults, each with its measurement, then the user's options."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasonflow.backends import hardware
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.vllm_versions import engine_arguments
from reasonflow.errors import EngineStartError, InputError, UnknownName

GIB = 1 << 30

CPU_BLOCK = 32
"""The smallest block vLLM's CPU attention takes (16 is refused). Decoding is as fast with it as with 64 and with vLLM's
own 128 (two cores, 64 samples: 946, 913 and 908 tokens/s), and short prompts share more."""
GPU_BLOCK = 16
CPU_WINDOW = 8192
"""Longer prompts would take minutes on a CPU, and their cache gigabytes; `max_model_len` overrides it."""
CPU_CACHE_GIB = 2.0
CPU_OVERHEAD = 1.5 * GIB
"""What an engine's libraries and buffers take beside weights and cache."""
CPU_MAX_RUNNING = 128
"""Two cores without AVX-512 wrote 1,070 tokens/s of the built-in model at 64, 1,250 at 128 and 1,220 to 1,500 at 256,
after prompts of 250 tokens."""
GPU_MAX_RUNNING = 256
GPU_BATCHED_TOKENS = 8192
"""With vLLM's own 2048 and 128 running, prefill and decoding starve an H100."""
GPU_UTILIZATION = 0.9
GPU_COMPILATION = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
"""CUDA graphs without torch.compile: 20 s to the first answer instead of 111 s, decoding within 5 %. Only of steps that
decode alone. With mode FULL, which has graphs of all steps, 258 of 300 threaded runs of the built-in model were right
on an H200; with this one 285 of the same, and 285 with breakable piecewise graphs. By its source FlashAttention 3
leaves the causal mask out of a graph that is captured with one token a request, where heads are not 65 to 128 wide; a
short prompt behind a cached prefix is replayed with it."""

_OURS = frozenset({"model", "disable_log_stats", "skip_tokenizer_init"})
"""Engine arguments this backend depends on."""


@dataclass(frozen=True, kw_only=True)
class VllmSettings:
    """One engine's configuration. Reading it needs the model's small files at most, never vLLM itself.

    Raises UnknownName when it is made with an engine option that vLLM does not have.
    """

    files: ModelFiles
    device: hardware.Device
    max_model_len: int | None = None
    asked_block_size: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_gib: float | None = None
    gpu_memory_utilization: float | None = None
    seed: int = 0
    verbose: bool = False
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Any other of vLLM's engine arguments; they win over ours."""

    def __post_init__(self) -> None:
        for name in self.engine_options:
            _check_option(name)

    @property
    def window(self) -> int | None:
        """Tokens of prompt and output at most."""
        if self.max_model_len is not None:
            return self.max_model_len
        window = self.files.window
        return min(window, CPU_WINDOW) if window is not None and self.device == "cpu" else window

    @property
    def block_size(self) -> int:
        """Tokens in a block of the prefix cache; on a GPU the engine may still decide otherwise."""
        return self.asked_block_size or (CPU_BLOCK if self.device == "cpu" else GPU_BLOCK)

    @property
    def max_running(self) -> int:
        """Samples decoded at once at most."""
        return self.max_num_seqs or (CPU_MAX_RUNNING if self.device == "cpu" else GPU_MAX_RUNNING)

    @property
    def dtype(self) -> str:
        """Type of the weights. bfloat16 decoded 1.4 to 5 times as fast as float32 on a processor that multiplies it."""
        if "dtype" in self.engine_options:
            return str(self.engine_options["dtype"])
        if self.device == "cuda":
            return "auto"
        return "bfloat16" if hardware.cpu_has_bfloat16() else "float32"

    def arguments(self) -> dict[str, Any]:
        """vLLM's engine arguments."""
        arguments: dict[str, Any] = {
            "model": self.files.source,
            "served_model_name": self.files.name,
            "seed": self.seed,
            "max_model_len": self.window,
            "max_num_seqs": self.max_running,
            "dtype": self.dtype,
            "scheduling_policy": "priority",
            "enable_prefix_caching": True,
            "disable_log_stats": False,  # the counters come from there
            "use_tqdm_on_load": self.verbose,
            "block_size": self.asked_block_size,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "kv_cache_memory_bytes": None if self.kv_cache_gib is None else int(self.kv_cache_gib * GIB),
        }
        if self.device == "cpu":
            arguments["enforce_eager"] = True  # torch.compile needs minutes here
            # A seeded sample whose prefill is cut in two kills vLLM's CPU engine ("CPU Generator does not use offset",
            # seen with 0.32), so a prompt is always computed in one step.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(self.max_num_batched_tokens or 0, self.window or 0) or None
            arguments["block_size"] = self.block_size
            arguments["kv_cache_memory_bytes"] = int((self.kv_cache_gib or CPU_CACHE_GIB) * GIB)
        else:
            arguments["compilation_config"] = dict(GPU_COMPILATION)
            arguments["max_num_batched_tokens"] = self.max_num_batched_tokens or GPU_BATCHED_TOKENS
        return {**{name: value for name, value in arguments.items() if value is not None}, **self.engine_options}

    def environment(self, *, in_process: bool) -> dict[str, str]:
        """Variables that must hold while the engine starts."""
        variables = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if in_process else "1",
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "VLLM_NO_USAGE_STATS": "1",
        }
        if not self.verbose:
            variables["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # else torch warns about NUMA on stderr
        if self.device == "cuda" and importlib.util.find_spec("flashinfer") is None:
            variables["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
        if Path(self.files.source).is_dir():
            variables["HF_HUB_OFFLINE"] = "1"
        return variables

    def check_room(self, running: Sequence[str]) -> None:
        """Raise EngineStartError if this engine does not fit beside the `running` ones."""
        if not running:
            return  # vLLM's own message says what is missing
        if self.device == "cpu":
            widened = 2 if self.dtype == "float32" else 1  # weights on disk are 16 bits wide
            cache = (self.kv_cache_gib or CPU_CACHE_GIB) * GIB
            needed, free = self.files.weight_bytes * widened + cache + CPU_OVERHEAD, hardware.cpu_memory_free()
        else:
            total, free = hardware.gpu_memory()
            needed = total * (self.gpu_memory_utilization or GPU_UTILIZATION)
        if needed > free:
            raise EngineStartError(
                f"a second engine, {self.files.name!r}, does not fit beside {', '.join(map(repr, running))}",
                why=f"it needs about {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free",
                fix="close the other engine first: lm.engine.close()",
            )


def _check_option(name: str) -> None:
    if name in _OURS:
        raise InputError(
            f"the engine option {name!r} cannot be set", why="ReasonFlow depends on its own value", fix="leave it out"
        )
    known = engine_arguments()
    if known and name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        raise UnknownName(
            f"unknown engine option {name!r}",
            why=f"neither ReasonFlow nor vLLM knows it among its {len(known)} engine arguments",
            fix=f"did you mean {near[0]!r}?" if near else "see the engine arguments in vLLM's documentation",
        )
