"""Whatever a search gave back, as passages; an error that names what came, where it is something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any

import dspy

from reasonflow.errors import InputError
from reasonflow.programs.retrieval.passages import Passage, content_id

_PASSAGES = ("passages", "docs")
"""What predictions call them; the latter is the Databricks retriever's word."""
_TEXT = ("long_text", "text", "content", "passage", "page_content")
_ID = ("id", "pid")
_IDS = ("indices", "pid", "pids", "ids", "doc_ids")
_SCORES = ("scores", "score")
_FORMS = "return a list of texts, of dicts with 'text' (and 'title', 'id', 'score'), or of passages"


def passages_of(returned: object, k: int, name: str) -> tuple[Passage, ...]:
    """The first k passages of what the retriever `name` returned.

    A passage without an id has one of its content. Raises InputError for a result of another form: it is never taken
    for an empty one.
    """
    if isinstance(returned, (dspy.Prediction, Mapping)):
        return _of_prediction(returned, k, name)
    if isinstance(returned, str):
        returned = [returned]
    if not isinstance(returned, Iterable) or isinstance(returned, bytes):
        raise InputError(f"{name} returned {_shown(returned)} instead of passages", fix=_FORMS)
    return tuple(_passage(each, f"{name}: passage {number}") for number, each in enumerate(islice(returned, k), 1))


def _of_prediction(returned: Any, k: int, name: str) -> tuple[Passage, ...]:
    """Of passages with what stands beside them: ids and scores of the same number."""
    fields = dict(returned.items())
    found = next((fields[name] for name in _PASSAGES if name in fields), None)
    if not isinstance(found, (list, tuple)):
        have = ", ".join(map(repr, fields)) or "nothing"
        why = f"it holds {have}" if found is None else f"they are {_shown(found)}"
        raise InputError(f"{name} returned a {type(returned).__name__} without a list 'passages'", why=why, fix=_FORMS)
    ids, scores = (_beside(fields, names, len(found)) for names in (_IDS, _SCORES))
    made = []
    for number, (each, id, score) in enumerate(islice(zip(found, ids, scores, strict=False), k), 1):
        where = f"{name}: passage {number}"
        extra = {key: value for key, value in (("id", id), ("score", score)) if value is not None}
        made.append(_passage({**extra, "text": each} if isinstance(each, str) else each, where))
    return tuple(made)


def _beside(fields: Mapping[str, Any], names: Iterable[str], count: int) -> Iterator[Any]:
    for name in names:
        values = fields.get(name)
        if isinstance(values, (list, tuple)) and len(values) == count:
            return iter(values)
    return repeat(None)


def _passage(given: object, where: str) -> Passage:
    if isinstance(given, Passage):
        return given
    if isinstance(given, str):
        return _made(where, given)
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {_shown(given)}", fix=_FORMS)
    text = next((given[key] for key in _TEXT if key in given), None)
    if not isinstance(text, str):
        have = ", ".join(map(repr, list(given)[:12])) or "nothing"
        raise InputError(f"{where} has no text", why=f"it holds {have}", fix=_FORMS)
    id = next((given[key] for key in _ID if given.get(key) is not None), None)
    return _made(where, text, given.get("title") or "", id, given.get("score"))


def _made(where: str, text: str, title: object = "", id: object = None, score: object = None) -> Passage:
    title = str(title)
    if not text.strip() and not title.strip():
        raise InputError(f"{where} is empty", why="it has neither a text nor a title", fix="leave it out")
    try:
        number = float(score) if score is not None else 0.0  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} has the score {_shown(score)}", why=str(error), fix="give a number") from error
    return Passage(id=content_id(title, text) if id is None else str(id), title=title, text=text, score=number)


def _shown(value: object) -> str:
    """A value with its type, short however large it is."""
    if isinstance(value, (str, bytes, list, tuple, dict, set)):
        return f"a {type(value).__name__} of {len(value):,}"
    told = repr(value)
    return f"the {type(value).__name__} {told}" if len(told) <= 80 else f"a {type(value).__name__}"
