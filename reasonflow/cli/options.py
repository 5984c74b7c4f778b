"""Command-line words turned into what the library takes: program options, a program, a language model.

`--set widths=4,2` becomes `{"widths": (4, 2)}`: the types come from the program's own constructor, so that a new
program needs no line here.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from reasonflow.errors import InputError, UnknownName

if TYPE_CHECKING:
    import dspy

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
NONE_WORDS = frozenset({"none", "null", ""})


def parse_settings(program_class: type, settings: Sequence[str]) -> dict[str, Any]:
    """The constructor arguments that `["widths=4,2", "n=8"]` spell.

    Raises UnknownName for an option the constructor does not have, InputError for a value its type does not take, for a
    word without `=`, and for an option given twice.
    """
    options = options_of(program_class)
    parsed: dict[str, Any] = {}
    for word in settings:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"--set {word!r} is not of the form key=value", fix="write for example --set widths=4,2")
        if name not in options:
            raise UnknownName.among(f"option of {program_class.__name__}", name, options)
        if name in parsed:
            raise InputError(f"--set gives {name!r} twice", fix="keep one of them")
        kind, default = options[name]
        try:
            parsed[name] = _convert(text.strip(), kind)
        except ValueError as error:
            raise InputError(
                f"--set {word}: {text.strip()!r} is not {_describe(kind)}",
                why=f"{program_class.__name__}.{name} has the default {default!r}",
                fix=f"write for example --set {name}={_spell(default)}",
            ) from error
    return parsed


def options_of(program_class: type) -> dict[str, tuple[Any, Any]]:
    """What the constructor takes after its signature: option -> (type, default), in its own order."""
    # A class is documented by its __init__; a plain function would serve as well, which keeps this testable.
    constructor = program_class.__init__  # type: ignore[misc]  # only looked at, never called
    try:
        hints = typing.get_type_hints(constructor)
    except NameError:
        # An annotation imported under TYPE_CHECKING cannot be resolved here; the defaults still tell the types.
        hints = {}
    parameters = [
        parameter
        for parameter in list(inspect.signature(constructor).parameters.values())[1:]
        if parameter.name != "signature" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    kinds = {parameter.name: _kind_of(hints.get(parameter.name), parameter.default) for parameter in parameters}
    # What no word can mean, such as a dict, is an option of the library and not of the command line.
    return {p.name: (kinds[p.name], p.default) for p in parameters if _spellable(kinds[p.name])}


def build(
    program_name: str,
    signature: str | type,
    settings: Sequence[str] | Mapping[str, Any] = (),
    budget: str | None = None,
    *,
    retriever: Any = None,
    search: Sequence[str] | None = None,
) -> dspy.Module:
    """The program of that name over `signature`; `settings` are `key=value` words or parsed arguments.

    budget: of each run, as `total=20k,seconds=90`. retriever: of a program that searches. search: the options that are
    open for a search, as `reasonflow compile --search` has them; all of its space for none of them; None: as the
    program has it. Raises UnknownName for the program's name, InputError where there is nothing to search, or where it
    is not searched, and what `parse_settings`, `parse_search` and `Budget.parse` raise.
    """
    from reasonflow import programs
    from reasonflow.plan.budget import Budget

    program_class = programs.find(program_name)
    arguments = dict(settings) if isinstance(settings, Mapping) else parse_settings(program_class, settings)
    if programs.searches(program_class):
        if retriever is None:
            raise InputError(f"{program_name} has nothing to search", fix="give --corpus FILE")
        arguments["retriever"] = retriever
    elif retriever is not None:
        raise InputError(f"{program_name} searches nothing", fix="leave --corpus out, or name hybrid_search")
    if search is None:
        program: dspy.Module = program_class(signature, **arguments)
    else:
        from reasonflow.cli.grids import parse_search

        names, choices = parse_search(program_class, search)
        both = next((name for name in choices if name in arguments), None)
        if both is not None:
            raise InputError(f"{both} is in --set and in --search", fix="name its values in --search, the first first")
        program = program_class.searched(signature, search=names or None, **arguments, **choices)
    if budget is not None:
        program.budget = Budget.parse(budget)
    return program


LOCAL = "vllm"
_HOSTED = ("lm15", "litellm")


def open_lm(
    model: str,
    *,
    engine: str = LOCAL,
    api_key_env: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    verbose: bool = False,
    engine_options: Mapping[str, Any] | None = None,
) -> dspy.LM:
    """`model` as a `dspy.LM`, nothing started yet. None leaves the engine's own default.

    engine: "vllm" for an engine of our own, the URL of a server, or the DSPy engine of a hosted model.
    engine_options: further options of `rf.vllm` for an engine of our own. Raises UnknownName, and InputError for a key
    that nothing takes.
    """
    import dspy

    import reasonflow

    sampling: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    given = {name: value for name, value in sampling.items() if value is not None}
    url = engine.startswith(("http://", "https://"))
    if api_key_env is not None and not url:
        raise InputError(
            f"--api-key-env has no use with --engine {engine}",
            why="hosted models find the key of their provider by themselves, and a local engine needs none",
            fix="leave it out, or give the URL of a server as --engine",
        )
    if url:
        key: dict[str, Any] = {} if api_key_env is None else {"api_key_env": api_key_env}
        # LiteLLM's and DSPy's names say "openai/" for any server that speaks OpenAI's API.
        served: dspy.LM = reasonflow.openai(model.removeprefix("openai/"), base_url=engine, **key, **given)
        return served
    if engine in _HOSTED:
        return dspy.LM(model, engine=engine, cache=False, **given)
    if engine != LOCAL:
        raise UnknownName.among(
            "engine", engine, (LOCAL, *_HOSTED), fix="name one of them, or the URL of a server: http://..."
        )
    lm: dspy.LM = reasonflow.vllm(model, verbose=verbose, **{**(engine_options or {}), **given})
    return lm


def corpus_index(files: Sequence[Path] | None) -> Any:
    """What to search in these files, for as long as the process runs; None without any."""
    if not files:
        return None
    from reasonflow.programs.retrieval.bm25 import BM25
    from reasonflow.programs.retrieval.sources import passages

    return BM25.build([passage for file in files for passage in passages(file)])


def parse_engine_options(words: Sequence[str]) -> dict[str, Any]:
    """`max_num_seqs=64` as {"max_num_seqs": 64}: a value that is JSON is read as JSON, any other is a text.

    Raises InputError for a word without `=`, and for an option given twice. Names are checked where they are used.
    """
    parsed: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise InputError(
                f"--engine-option {word!r} is not of the form key=value",
                fix="write for example --engine-option max_num_seqs=64",
            )
        if name in parsed:
            raise InputError(f"--engine-option gives {name!r} twice", fix="keep one of them")
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            parsed[name] = text.strip()
    return parsed


def _kind_of(hint: Any, default: Any) -> Any:
    """The type to read a value as: the annotation where it is one we can spell, else the default's type."""
    if hint is not None and (_spellable(hint) or default is None):
        return hint
    if isinstance(default, (tuple, list)):
        return types.GenericAlias(tuple, (type(default[0]) if default else str, ...))
    return str if default is None or default is inspect.Parameter.empty else type(default)


def _spellable(kind: Any) -> bool:
    """Whether a word on the command line can mean a value of that type, in at least one way."""
    if kind in (int, float, bool, str):
        return True
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_spellable(arm) for arm in get_args(kind) if arm is not type(None))
    if origin in (tuple, list, Sequence):
        return all(arm is Ellipsis or _spellable(arm) for arm in get_args(kind))
    return origin is Literal


def _convert(text: str, kind: Any) -> Any:
    """`text` read as `kind`; ValueError where it is none."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_first(text, get_args(kind))
    if origin is Literal:
        for value in get_args(kind):
            if text == str(value):
                return value
        raise ValueError(text)
    if origin in (tuple, list, Sequence):
        return _convert_items(text, get_args(kind))
    if kind is type(None):
        if text.lower() in NONE_WORDS:
            return None
        raise ValueError(text)
    if kind is bool:
        word = text.lower()
        if word in TRUE_WORDS or word in FALSE_WORDS:
            return word in TRUE_WORDS
        raise ValueError(text)
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _convert_first(text: str, arms: Sequence[Any]) -> Any:
    """The first arm of a union that takes the text, the most particular first: every text is a str."""
    for arm in sorted(arms, key=lambda arm: (arm is str, arm is not type(None))):
        if arm is type(None) or _spellable(arm):
            try:
                return _convert(text, arm)
            except ValueError:
                continue
    raise ValueError(text)


def _convert_items(text: str, arms: Sequence[Any]) -> tuple[Any, ...]:
    """`4,2` or `(4, 2)` as a tuple; a fixed-length tuple type takes exactly its length."""
    words = [word.strip() for word in text.strip("()[] ").split(",")]
    if words and words[-1] == "":  # Python's own `(4,)`, and the empty tuple
        words.pop()
    kinds = [arm for arm in arms if arm is not Ellipsis]
    if len(arms) > 1 and Ellipsis not in arms:
        if len(words) != len(kinds):
            raise ValueError(text)
        return tuple(_convert(word, kind) for word, kind in zip(words, kinds, strict=True))
    return tuple(_convert(word, kinds[0] if kinds else str) for word in words)


def _describe(kind: Any) -> str:
    """The type in a user's words."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(arm) for arm in get_args(kind) if arm is type(None) or _spellable(arm))
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(kind))
    if origin in (tuple, list, Sequence):
        arms = [arm for arm in get_args(kind) if arm is not Ellipsis]
        return "a list of " + {int: "whole numbers", float: "numbers"}.get(arms[0] if arms else str, "words")
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "none"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _spell(value: Any) -> str:
    """A value as one writes it after `--set name=`."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value).lower()


def runs_folder(*words: str) -> Path:
    """`runs/WORD-WORD-...`, with nothing in it that a file system minds; of a path its last part."""
    last = (word.rstrip("/").rpartition("/")[2] for word in words)
    return Path("runs") / "-".join(re.sub(r"[^\w.=-]+", "_", word) for word in last)
