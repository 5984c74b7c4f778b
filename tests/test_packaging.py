"""What a user installs: the three linked folders inside, or a build that refuses with the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("programs", "optimizers", "evals")
NEEDED = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md", "docs", "reasonflow", *LINKS)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, its links still links."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    return copy


def model_files() -> dict[str, int]:
    """Every file of the built-in models, as a path inside the package, with its size."""
    folder = ROOT / "reasonflow" / "models"
    files = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert any(name.endswith("embedded/config.json") for name in files)
    assert any(name.endswith(".safetensors") for name in files)
    return files


def build(checkout: Path, target: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(checkout / "dist")]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def modules(checkout: Path) -> set[str]:
    """Every file of the package and of the folders it links to, as paths inside the package."""
    return {
        path.relative_to(checkout).as_posix()
        if path.is_relative_to(checkout / "reasonflow")
        else f"reasonflow/{relative}"
        for folder in ("reasonflow", *LINKS)
        for path in (checkout / folder).rglob("*.py")
        if (relative := path.relative_to(checkout).as_posix())
    }


def test_a_wheel_holds_the_linked_folders(checkout: Path) -> None:
    built = build(checkout, "wheel")
    assert built.returncode == 0, built.stderr
    (wheel,) = (checkout / "dist").glob("*.whl")
    entries = zipfile.ZipFile(wheel).infolist()
    names = {entry.filename for entry in entries}
    assert modules(checkout) <= names
    assert model_files().items() <= {entry.filename: entry.file_size for entry in entries}.items()
    assert all(entry.external_attr >> 16 & 0o044 for entry in entries if entry.filename in model_files())  # by all
    assert {"reasonflow/py.typed", "reasonflow/evals/performance/overhead.py"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.split("/")[0] in (*LINKS, "tests")]


def test_an_sdist_builds_the_same_wheel(checkout: Path, tmp_path: Path) -> None:
    built = build(checkout, "sdist")
    assert built.returncode == 0, built.stderr
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4
        opened.extractall(tmp_path / "unpacked", **safely)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not any((unpacked / "reasonflow" / name).is_symlink() for name in LINKS)
    again = build(unpacked, "wheel")
    assert again.returncode == 0, again.stderr
    (wheel,) = (unpacked / "dist").glob("*.whl")
    assert modules(checkout) | model_files().keys() <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_lost_links_stop_the_build_with_the_reason(checkout: Path, target: str) -> None:
    link = checkout / "reasonflow" / "programs"
    link.unlink()
    link.write_text("../programs")  # what a zip download, or git without links, leaves behind
    built = build(checkout, target)
    assert built.returncode != 0
    assert "not folders: reasonflow/programs" in built.stderr
    assert "core.symlinks" in built.stderr
    assert not list(checkout.glob("dist/*"))
