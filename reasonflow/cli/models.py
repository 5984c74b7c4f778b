"""`reasonflow models`: what can be given to --model here, without a download."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model this machine has, or nearly has."""

    name: str
    """What --model takes."""
    state: Literal["ready", "ready to convert", "incomplete", "missing"]
    bytes: int | None
    """On disk; None where nothing is there yet."""
    where: str
    note: str = ""


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List the models on this machine: the embedded one, and those in the Hugging Face cache.

    Any other Hugging Face name works as well; its files are downloaded at first use. So does a folder.

    Examples:

      reasonflow models

      reasonflow models --json
    """
    found = [embedded(), *cached()]
    if as_json:
        print(json.dumps({"models": [asdict(model) for model in found]}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "state", "size")
    table.add_column("where", overflow="fold")  # a path cut short is of no use
    for model in found:
        size = "–" if model.bytes is None else f"{model.bytes / 1e9:.2f} GB"
        table.add_row(model.name, model.state, size, f"{model.where}\n{model.note}" if model.note else model.where)
    Console().print(table)


def embedded(cache: Path | None = None) -> Model:
    """The model that needs no download from a hub: whether its package is here, and whether it is converted."""
    from reasonflow.backends.embedded import PACKAGE, converted_folder

    if importlib.util.find_spec(PACKAGE.replace("-", "_")) is None:
        note = "not installed: reasonflow doctor --fix installs it"
        return Model(name="embedded", state="missing", bytes=None, where=f"package {PACKAGE}", note=note)
    folder = converted_folder(cache)
    if folder is not None:
        return Model(name="embedded", state="ready", bytes=_size(folder), where=str(folder))
    note = "converted at first use, in about ten seconds"
    return Model(name="embedded", state="ready to convert", bytes=None, where=f"package {PACKAGE}", note=note)


def cached() -> list[Model]:
    """The models in the Hugging Face cache, by name. Empty where there is no cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return []
    found = []
    for repository in sorted(cache.repos, key=lambda repository: str(repository.repo_id)):
        if repository.repo_type != "model":
            continue
        files = {file.file_name for revision in repository.revisions for file in revision.files}
        whole = "config.json" in files and any(name.endswith((".safetensors", ".bin")) for name in files)
        found.append(
            Model(
                name=repository.repo_id,
                state="ready" if whole else "incomplete",
                bytes=repository.size_on_disk,
                where=str(repository.repo_path),
                note="" if whole else "its configuration or weights are not here; they are downloaded at first use",
            )
        )
    return found


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
