"""`reasonflow models`: what can be given to --model here, without a download."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

State: TypeAlias = Literal["ready", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model this machine has, or has in part."""

    name: str
    """What --model takes."""
    state: State
    bytes: int
    """On disk."""
    where: str
    note: str = ""


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List the models on this machine: the built-in ones, and those in the Hugging Face cache.

    Any other Hugging Face name works as well; its files are downloaded at first use. So does a folder.

    Examples:

      reasonflow models

      reasonflow models --json
    """
    found = [*built_in(), *cached()]
    if as_json:
        print(json.dumps({"models": [asdict(model) for model in found]}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "state", "size")
    table.add_column("where", overflow="fold")  # a path cut short is of no use
    for model in found:
        where = f"{model.where}\n{model.note}" if model.note else model.where
        table.add_row(model.name, model.state, _readable(model.bytes), where)
    Console().print(table)


def built_in() -> list[Model]:
    """The models inside this package, which need no download."""
    from reasonflow.backends import embedded

    found = []
    for name in embedded.NAMES:
        folder, missing = embedded.place(name), embedded.missing_files(name)
        note = f"{missing[0]} is missing: install ReasonFlow again" if missing else ""
        state: State = "incomplete" if missing else "ready"
        found.append(Model(name=name, state=state, bytes=_size(folder), where=str(folder), note=note))
    return found


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


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
