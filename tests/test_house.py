"""The house stands: imports point one way, files stay readable, the package stays light."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reasonflow

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "reasonflow"
FLOORS = ("programs", "optimizers", "evals")
"""The folders above the core, lowest first: each may import itself and what stands before it."""
EXPORTS = frozenset(
    {
        "AsyncScaling", "BestOfN", "BranchFeedback", "Budget", "ChainOfThought", "Choice", "ConfidentVote", "Continue",
        "Gate", "Generate", "HybridSearch", "PDR", "PlannedSearch", "Program", "RSA", "Range", "ReasonFlowError",
        "RewardModel", "SelfConsistency", "SequentialRefine", "SpeculativePlanner", "ThreadWeaver", "YesProbability",
        "answer", "call", "compile", "each", "evaluate", "events", "fork", "hosted", "limit", "load", "loop",
        "math_equal", "note", "openai", "quorum", "race", "scripted", "select", "show", "transfer", "vllm", "vote",
        "when", "within",
    }
)  # fmt: skip
"""What users may rely on. Changing this list is a decision, and a line in the changelog."""


def tracked() -> list[Path]:
    """Files under version control; outside a checkout, every file that is no build product."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return [
            path for path in ROOT.rglob("*") if path.is_file() and not path.relative_to(ROOT).parts[0].startswith(".")
        ]
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def sources(folder: Path) -> list[Path]:
    """Python files of a folder; the links inside `reasonflow` are not followed."""
    return sorted(path for path in folder.rglob("*.py") if path.resolve().is_relative_to(folder.resolve()))


def imported(path: Path, *, at_import: bool) -> Iterator[tuple[str, int]]:
    """(module, line) of every import; with `at_import` only those that run when the file is imported."""

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno} imports relatively; write the whole name"
                yield from ((f"{child.module}.{alias.name}", child.lineno) for alias in child.names)
            elif at_import and (isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) or _for_types_only(child)):
                continue
            else:
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def floor_of(module: str) -> int:
    """0 for the core, 1 for the programs, and so on up."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) + 1 if len(parts) > 1 and parts[0] == "reasonflow" and parts[1] in FLOORS else 0


@pytest.mark.parametrize("floor", FLOORS)
def test_the_upper_folders_import_downwards_only(floor: str) -> None:
    height = FLOORS.index(floor) + 1
    upwards = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(ROOT / floor)
        for module, line in imported(path, at_import=False)
        if floor_of(module) > height
    ]
    assert not upwards, "\n".join(upwards)


def test_the_core_does_not_import_what_is_built_with_it() -> None:
    # The public face re-exports the programs, and a command calls what it is a command for.
    excepted = {PACKAGE / "__init__.py", *sources(PACKAGE / "cli")}
    upwards = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(PACKAGE)
        if path not in excepted
        for module, line in imported(path, at_import=True)
        if floor_of(module)
    ]
    assert not upwards, "\n".join(upwards)


def test_commands_import_what_is_heavy_only_when_they_run() -> None:
    heavy = ("dspy", "litellm", "torch", "transformers", "vllm", "datasets", "math_verify", "reasoning_gym", "rich")
    eager = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(PACKAGE / "cli")
        for module, line in imported(path, at_import=True)
        if module.split(".")[0] in heavy
    ]
    assert not eager, "\n".join(eager)


def test_no_folder_is_imported_by_its_top_level_name() -> None:
    doubled = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for folder in ("reasonflow", *FLOORS, "tests")
        for path in sources(ROOT / folder)
        for module, line in imported(path, at_import=False)
        if module.split(".")[0] in FLOORS
    ]
    assert not doubled, "\n".join(doubled)


@pytest.mark.parametrize("name", FLOORS)
def test_the_upper_folders_are_relative_links_inside_the_package(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert (link / "__init__.py").is_file()


def test_files_stay_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix == ".py" and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long, f"a second concept has moved in: {long}"


def test_every_source_file_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in ("reasonflow", *FLOORS)
        for path in sources(ROOT / folder)
        if path.name != "__main__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout: nothing says which files are tracked")
def test_the_repository_stays_small_with_its_models() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 20 * 2**20


def test_the_public_names_are_the_agreed_ones() -> None:
    assert set(reasonflow.__all__) == EXPORTS
    assert len(reasonflow.__all__) == len(EXPORTS), "a name stands twice"


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_every_public_name_exists_with_a_docstring_of_its_own(name: str) -> None:
    value = getattr(reasonflow, name)
    inherited = [base.__doc__ for base in getattr(value, "__mro__", (value,))[1:]]
    assert value.__doc__
    assert value.__doc__ not in inherited


def test_every_public_name_is_in_the_language_reference() -> None:
    words = set(re.findall(r"\w+", (ROOT / "docs" / "language.md").read_text(encoding="utf-8")))
    assert words >= EXPORTS, f"docs/language.md does not mention {sorted(EXPORTS - words)}"


def test_importing_pulls_in_no_engine() -> None:
    script = "import sys, reasonflow; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"torch", "vllm", "transformers", "datasets", "math_verify", "reasoning_gym"}


def test_importing_adds_less_than_a_second_to_dspy() -> None:
    script = "import time, dspy; start = time.process_time(); import reasonflow; print(time.process_time() - start)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert statistics.median(seconds) < 1
