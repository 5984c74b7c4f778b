"""Gathering facts on the machine that runs the tests."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from reasonflow.backends import facts
from reasonflow.backends.facts import cpu_flags, gather, import_errors, installed


def test_gathering_describes_this_interpreter_without_importing_torch() -> None:
    found = gather()
    assert found.python == sys.version_info[:3]
    assert found.system == platform.system()
    assert found.versions["dspy"].startswith("3.4")
    assert any(line.startswith("dspy") for line in found.requirements["reasonflow"])
    assert found.disk_free > 0


def test_versions_are_told_of_installed_packages_only() -> None:
    assert list(installed(["pytest", "no-such-distribution"])) == ["pytest"]


def test_only_modules_that_fail_to_import_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_addon.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_errors(["json", "broken_addon"]) == {"broken_addon": "RuntimeError: operator nms does not exist"}


def test_a_module_that_kills_its_interpreter_is_an_error_like_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_addon.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "status 9" in import_errors(["deadly_addon"])["deadly_addon"]


def test_an_import_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_addon.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(facts, "_IMPORT_SECONDS", 1)
    assert "did not end" in import_errors(["slow_addon"])["slow_addon"]


def test_no_interpreter_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts.sys, "executable", "/nowhere")
    assert import_errors([]) == {}


@pytest.mark.parametrize(
    ("text", "flags"),
    [("flags\t\t: fpu avx2\nflags\t\t: other\n", {"fpu", "avx2"}), ("Features : asimd\n", {"asimd"}), ("", set())],
)
def test_processor_flags_are_read_in_both_spellings(tmp_path: Path, text: str, flags: set[str]) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert cpu_flags(info) == flags


def test_gpus_are_listed_by_the_drivers_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100'\necho 'NVIDIA H100'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert facts.gpus() == ("NVIDIA H100", "NVIDIA H100")


def test_a_driver_that_fails_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert facts.gpus() == ()
