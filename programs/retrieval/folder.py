"""The folder of an index: whole or not there, and replaced at one stroke.

The manifest names the folder inside that holds the data, and is written last. A build that is killed leaves data that
no manifest names, and the next build removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from reasonflow.errors import InputError

T = TypeVar("T")

VERSION = 1
"""Of the files. A change of what they hold, or of how words are told apart, makes old ones unreadable: raise it."""
_MANIFEST = "manifest.json"
_LOCK = ".lock"
_DATA = ".reasonflow-index-"
"""No user's folder is called so: what begins like this and is named by no manifest is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an index is of."""

    kind: str
    """Of index: bm25 or dense."""
    count: int
    """Passages."""
    source: str
    """The digest of all passages, in order."""
    settings: Mapping[str, Any]
    """Everything else that decides what is found, as JSON holds it."""
    version: int = 0
    """Of its files; `built` fills this in, and the next."""
    data: str = ""
    """The folder inside that holds the data."""


def built(
    folder: str | Path | None,
    kind: str,
    make: Callable[[Path], Manifest],
    load: Callable[[Path, Manifest], T],
    fits: Callable[[Manifest], bool] = lambda _: False,
) -> T:
    """What `load` makes of the index in a folder, once it is built.

    folder: None for a temporary one, which is gone when this returns: what is mapped stays readable without a name.
    make: writes all files into the folder that it is given, and says what they are.
    fits: whether the index that is there will do, so that nothing is built.
    One process at a time builds in a folder; others wait for it. Raises InputError for a folder that cannot be written,
    or holds an index of another kind, and what `make` raises.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="reasonflow-index-") as temporary:
            return built(temporary, kind, make, load)
    folder = Path(folder)
    try:
        with _alone(folder):
            found = _manifest(folder)
            if found is not None and found.kind != kind:
                raise _other_kind(folder, found.kind, kind)
            if found is None or found.version != VERSION or not fits(found):
                _build(folder, make)
            return opened(folder, kind, load)
    except OSError as error:
        raise InputError(f"no index can be built in {folder}", why=str(error), fix="name another folder") from error


def opened(folder: str | Path, kind: str, load: Callable[[Path, Manifest], T]) -> T:
    """What `load` makes of a finished index: the folder of its data, and its manifest.

    Raises InputError where there is none of this kind and version, or where its files are not whole.
    """
    folder = Path(folder)
    manifest = _checked(folder, kind)
    while True:
        try:
            return load(folder / manifest.data, manifest)
        except InputError:
            raise  # the data is not to blame: a package or a model is missing
        except (OSError, ValueError, EOFError, KeyError) as error:
            tried, manifest = manifest, _checked(folder, kind)
            # Otherwise another process has replaced the index between the two looks.
            if manifest.data == tried.data:
                raise InputError(
                    f"the index in {folder} cannot be read",
                    why=f"{type(error).__name__}: {error}",
                    fix="build it again",
                ) from error


def _checked(folder: Path, kind: str) -> Manifest:
    found = _manifest(folder)
    if found is None:
        raise InputError(
            f"there is no index in {folder}",
            why=f"it has no {_MANIFEST} that can be read: nothing was built there, or a build was stopped",
            fix="build it",
        )
    if found.kind != kind:
        raise _other_kind(folder, found.kind, kind)
    if found.version != VERSION:
        raise InputError(
            f"the index in {folder} is of version {found.version}",
            why=f"this release reads version {VERSION}",
            fix="build it again",
        )
    return found


def _other_kind(folder: Path, found: str, wanted: str) -> InputError:
    return InputError(
        f"the index in {folder} is of the kind {found}", why=f"it is used as {wanted}", fix="name another folder"
    )


def _manifest(folder: Path) -> Manifest | None:
    """None where nothing was finished."""
    try:
        return Manifest(**json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process builds there meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path, make: Callable[[Path], Manifest]) -> None:
    data = folder / f"{_DATA}{secrets.token_hex(8)}"
    data.mkdir()
    try:
        manifest = asdict(make(data)) | {"version": VERSION, "data": data.name}
        fresh = data / _MANIFEST
        fresh.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for file in data.iterdir():
            _flush(file)
        os.replace(fresh, folder / _MANIFEST)
    except BaseException:
        shutil.rmtree(data)
        raise
    for other in folder.glob(f"{_DATA}*"):
        if other != data:
            shutil.rmtree(other)


def _flush(file: Path) -> None:
    """Bring it to the disk: a manifest must not outlive a power cut that its data did not."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
