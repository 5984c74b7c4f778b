"""Refuses to build a package whose three folder links were lost on the way.

`reasonflow/programs`, `reasonflow/optimizers` and `reasonflow/evals` are relative links to the folders at the top. A
zip download, or a checkout with `core.symlinks=false`, turns them into small text files; a package built from that
would import and then miss its programs.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LINKED = ("programs", "optimizers", "evals")


def missing_folders(root: Path) -> list[str]:
    """Those of the three subpackages that are not folders with an `__init__.py`, as paths relative to `root`."""
    return [f"reasonflow/{name}" for name in LINKED if not (root / "reasonflow" / name / "__init__.py").is_file()]


class LinkGuard(BuildHookInterface):
    """Runs before every target: wheel, editable wheel, sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise RuntimeError, naming the lost links and how to get them back."""
        missing = missing_folders(Path(self.root))
        if missing:
            raise RuntimeError(
                f"not folders: {', '.join(missing)}\n"
                "why: they are relative links to the folders of the same name at the top; zip downloads and checkouts "
                "with core.symlinks=false replace links by text files\n"
                "fix: install from a wheel or an sdist, or clone again with `git clone -c core.symlinks=true`"
            )
