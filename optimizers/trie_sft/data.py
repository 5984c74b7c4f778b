"""Training data: JSON lines, or such rows in memory, made into tries.

A row has one of two forms. As text:

    {"messages": [{"role": "user", "content": "..."}], "text": "<Parallel>..."}

where `messages` is the chat that the model's template renders, and `text` what the assistant wrote, cut into requests
as the state machine sends them. Or token by token, where the ids are known, as a rollout knows them:

    {"prompt": [1, 2], "units": [{"context": [1, 2], "completion": [3, 4]}, {"context": [1, 2, 3, 4, 5], ...}]}

where each context holds all ids that were sent, the prompt first; give the whole trajectory as the first unit. An end
of turn is added to text, never to ids.

Both may say `"correct": true` and `"well_formed": true`; a row that says false of either is left out, as self-training
keeps only trajectories that are right and well formed (arXiv 2512.07843). Other keys are not read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.errors import InputError
from reasonflow.optimizers.trie_sft.trie import Flat, flatten
from reasonflow.optimizers.trie_sft.units import Unit, units_of
from reasonflow.programs.trajectories import Dialect

Source: TypeAlias = "str | Path | Mapping[str, Any]"
"""A file of JSON lines, or one row."""
_Row: TypeAlias = "str | Mapping[str, Any]"
"""A row as it was given: a line of JSON, or its object."""
_Written: TypeAlias = tuple[str, _Row]
"""A row, behind where it stands."""
_FEW = 512
"""Rows that need no processes of their own."""
_TOGETHER = 64
"""Rows that a process is handed at a time."""
_FORMS = 'a row is {"messages": [...], "text": "..."} or {"prompt": [ids], "units": [...]}'


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained on, and what is not."""

    tries: tuple[Flat, ...]
    """One for each trajectory that is kept, in the order of the rows."""
    dropped: Mapping[str, int]
    """Rows that are left out, by reason."""
    digest: str
    """Of the tokens and of what is learned: two that are equal train alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Makes tries of rows."""

    tokenizer: HfTokenizer
    end: tuple[int, ...]
    """Ids that end a turn."""
    vocabulary: int
    """Ids are below it."""
    dialect: Dialect
    longest: int
    """Tokens of a trie at most."""
    window: int | None
    """Tokens that the model was made for; None where its files do not say."""

    def read(self, sources: Iterable[Source], workers: int = 1) -> Data:
        """All rows of all sources. Raises InputError for a row that is wrong, and where nothing is left to train on.

        workers: processes that make tries, a million tokens a second each; more than one where there are many rows.
        """
        tries: list[Flat] = []
        dropped: Counter[str] = Counter()
        digest = hashlib.sha256()
        for found in self._all(_rows(sources), workers):
            if isinstance(found, str):
                dropped[found] += 1
                continue
            tries.append(found)
            for part in (found.tokens, found.parent, found.learned):
                digest.update(part.tobytes())
        if not tries:
            why = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "the data holds no rows"
            raise InputError("no trajectory is left to train on", why=why, fix="give other data, or longer rows")
        return Data(tuple(tries), dict(dropped), digest.hexdigest()[:16])

    def _all(self, rows: Iterator[_Written], workers: int) -> Iterator[Flat | str]:
        """Of each row, in their order."""
        first = list(islice(rows, _FEW))
        yield from map(self._made, first)
        if workers < 2 or len(first) < _FEW:
            yield from map(self._made, rows)
            return
        with get_context("spawn").Pool(workers, _begin, (self,)) as pool:
            for made in pool.imap(_made_beside, iter(lambda: list(islice(rows, _TOGETHER)), [])):
                yield from made

    def _made(self, written: _Written) -> Flat | str:
        """The trie of a row, or why it is left out."""
        where, row = written[0], _read(*written)
        if not isinstance(row, Mapping):
            raise _bad(where, f"it is a {type(row).__name__}")
        for flag, reason in (("correct", "wrong"), ("well_formed", "not well formed")):
            if row.get(flag) not in (None, True, False):
                raise _bad(where, f"{flag!r} is {row[flag]!r}", "write true or false")
            if row.get(flag) is False:
                return reason
        if "text" in row:
            prompt, text = self._prompt(row, where), row["text"]
            try:
                units = units_of(prompt, text, self.tokenizer, self.dialect, end=self.end)
            except InputError:
                return "malformed"
        else:
            units = tuple(self._units(row, where))
        trie = flatten(units)
        if len(trie) > self.longest:
            return f"longer than {self.longest:,} tokens"
        if self.window is not None and int(trie.depth.max()) >= self.window:
            return f"outside of the model's window of {self.window:,} tokens"
        return trie

    def _prompt(self, row: Mapping[str, Any], where: str) -> tuple[int, ...]:
        messages, text = row.get("messages"), row["text"]
        if not isinstance(text, str):
            raise _bad(where, "'text' is no text")
        if not isinstance(messages, list) or not messages or not all(isinstance(turn, Mapping) for turn in messages):
            raise _bad(where, "'messages' is no list of chat messages")
        try:
            return self.tokenizer.render(messages)
        except InputError as error:
            raise InputError(f"{where}: {error.what}", why=error.why, fix=error.fix) from error

    def _units(self, row: Mapping[str, Any], where: str) -> list[Unit]:
        units = row.get("units")
        if not isinstance(units, list) or not units:
            raise _bad(where, "it has neither 'text' nor 'units'" if units is None else "'units' is no list of pairs")
        prompt = self._ids(row, "prompt", where)
        made = []
        for number, pair in enumerate(units):
            here = f"{where}, unit {number}"
            if not isinstance(pair, Mapping):
                raise _bad(here, "it is no pair of context and completion")
            unit = Unit(self._ids(pair, "context", here), self._ids(pair, "completion", here))
            if unit.context[: len(prompt)] != prompt:
                raise _bad(here, "its context does not begin with the prompt", "write all ids that were sent")
            made.append(unit)
        return made

    def _ids(self, row: Mapping[str, Any], key: str, where: str) -> tuple[int, ...]:
        ids = row.get(key)
        if not isinstance(ids, Sequence) or isinstance(ids, str) or not ids or not all(type(id) is int for id in ids):
            raise _bad(where, f"{key!r} is no list of token ids")
        if min(ids) < 0 or max(ids) >= self.vocabulary:
            raise _bad(
                where,
                f"{key!r} has ids outside of the model's vocabulary, 0 to {self.vocabulary - 1}",
                "name its model",
            )
        return tuple(ids)


_READER: list[Reader] = []
"""In a process that makes tries: the one it makes them with."""


def _begin(reader: Reader) -> None:
    _READER[:] = [reader]


def _made_beside(rows: list[_Written]) -> list[Flat | str]:
    return [_READER[0]._made(row) for row in rows]


def _rows(sources: Iterable[Source]) -> Iterator[_Written]:
    """Every row with where it stands: file and line, or its number in the list."""
    for number, source in enumerate(sources):
        if isinstance(source, Mapping):
            yield f"row {number}", source
        else:
            yield from _lines(Path(source))


def _lines(path: Path) -> Iterator[_Written]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", why=str(error), fix="name a file of JSON lines") from error


def _read(where: str, row: _Row) -> Any:
    if not isinstance(row, str):
        return row
    try:
        return json.loads(row)
    except ValueError as error:
        raise _bad(where, f"it is no JSON: {error}", "write one JSON object to a line") from error


def _bad(where: str, why: str, fix: str = "") -> InputError:
    return InputError(f"{where} is no row to train on", why=why, fix=fix or _FORMS)
