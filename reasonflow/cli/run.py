"""`reasonflow run`: one program on one problem."""

from __future__ import annotations

import difflib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.options import LOCAL, build, corpus_index, open_lm
from reasonflow.cli.shared_options import (
    ApiKeyEnv,
    Corpus,
    Engine,
    MaxTokens,
    Model,
    ProgramName,
    Seed,
    Settings,
    Temperature,
    TopP,
    Verbose,
)
from reasonflow.errors import AnswerError, InputError, UnknownName

if TYPE_CHECKING:
    from reasonflow.runtime.record import Run


def run(
    program: ProgramName,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="The input, or field=value for each field.")],
    signature: Annotated[str, typer.Option(help="DSPy signature the program works on.")] = "problem -> answer",
    settings: Settings = None,
    corpus: Corpus = None,
    model: Model = "embedded",
    engine: Engine = LOCAL,
    api_key_env: ApiKeyEnv = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    seed: Seed = 0,
    budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="Of the run: total=4k, sequential=, calls=, seconds=, dollars=."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Fields and the whole run record as one JSON object.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="What each step did, on standard error.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run a program on one problem and print its answer.

    Examples:

      reasonflow run self_consistency "What is 17 + 25?" --set n=8 --explain

      reasonflow run pdr "How many primes are below 100?" --set widths=4,2 --model Qwen/Qwen3-8B --json

      reasonflow run hybrid_search "Who was king when it burned?" --corpus pages.jsonl --model Qwen/Qwen3-8B

      reasonflow run pdr "How many primes are below 100?" --budget total=20k,seconds=60

      reasonflow run pdr "How many primes are below 100?" --model openai/Qwen/Qwen3-8B --engine http://localhost:8000/v1
    """
    import dspy
    from dspy.utils.exceptions import AdapterParseError

    made = build(program, signature, settings or (), budget=budget, retriever=corpus_index(corpus))
    names = tuple(made.input_names())
    values = _values(inputs, names)
    lm = open_lm(
        model,
        engine=engine,
        api_key_env=api_key_env,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        verbose=verbose,
    )
    try:
        with dspy.context(lm=lm):
            out = _watched(made, values)
    except AdapterParseError as error:
        raise AnswerError(
            f"the model's text cannot be read as {', '.join(error.signature.output_fields)}",
            why=f"it wrote {_brief(error.lm_response)}",
            fix="try another --seed, more --max-tokens, or a larger --model",
        ) from error
    if explain:
        print(out.run.explain(), file=sys.stderr)
    if shortened := _shortened(out.run):
        print(shortened, file=sys.stderr)
    if as_json:
        print(json.dumps({"output": out.toDict(), "run": out.run.to_json()}, indent=2, default=str))
        return
    outputs = [name for name in made.signature.output_fields if name in out]
    for name in outputs or list(out.keys()):
        print(out[name] if len(outputs) == 1 else f"{name}: {out[name]}")


def _shortened(run: Run) -> str:
    """What its budget did to a run; empty where it did nothing."""
    used = run.usage
    ended = used.calls - used.cancelled_calls
    done = f"{ended} call{'' if ended == 1 else 's'} ended"
    done += f", {used.cancelled_calls} cancelled" if used.cancelled_calls else ""
    if run.cut:
        return f"cut short: {run.cut}; {done}, {used.total_tokens:,} tokens used: the answer is the latest one by then"
    if run.squeezed:
        return f"the budget left less room than the program asks for; {done} (--explain shows where)"
    return ""


def _watched(made: Any, values: dict[str, str]) -> Any:
    """The program's output, with a line on standard error that shows how far it is; interrupted, it says what was done.

    The call is a synchronous one: the first Ctrl-C takes the run out of the engine, a second one stops the engine.
    """
    from reasonflow.cli.live import LiveLine
    from reasonflow.runtime.ambient import surrounded

    line = LiveLine()
    try:
        with line, surrounded(watch=line, streamed=line.shown):
            return made(**values)
    except KeyboardInterrupt:
        print(f"the run was cancelled; of its samples: {line.done()}", file=sys.stderr)
        raise


def _values(words: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """The inputs by name: one bare text for a single field, field=value otherwise."""
    if not any(word.strip() for word in words):
        raise InputError("the input is empty", fix=f"give the {names[0] if names else 'program'} as a text in quotes")
    if len(words) == 1 and len(names) == 1:
        field, equals, _ = words[0].partition("=")
        # A problem may hold an equation; a word that nearly names the field is a slip.
        if not equals or not difflib.get_close_matches(field, names, n=1, cutoff=0.75):
            return {names[0]: words[0]}
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(
                f"{word!r} is not of the form field=value",
                fix=f"put a text in quotes; several fields ({', '.join(names)}) each as field=value",
            )
        if name not in names:
            raise UnknownName.among("input", name, names)
        values[name] = value
    return values


def _brief(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 300 else f"{shown[:150]} … {shown[-150:]}"
