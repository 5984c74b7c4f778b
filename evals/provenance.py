"""What stands beside a number so that it can be measured again: versions, commit, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from reasonflow.backends.facts import device, installed
from reasonflow.backends.hardware import device_name


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> installed version; those that are not installed are left out. Python stands among them."""
    return {"python": platform.python_version(), **installed(packages)}


def commit() -> str | None:
    """The commit of the ReasonFlow checkout this is, `+` where files differ from it; None for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return f"{head}+" if _git(root, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or a checkout it does not trust: the versions must do


def hardware() -> dict[str, str]:
    """The device an engine would use here, and how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"device": device_name(device()), "cores": str(cores)}


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
