"""`reasonflow run`: one program on one problem."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from reasonflow.cli.options import build, open_lm
from reasonflow.errors import InputError, UnknownName


def run(
    program: Annotated[str, typer.Argument(help="chain_of_thought, self_consistency, pdr or sequential_refine.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="The input, or field=value for each field.")],
    signature: Annotated[str, typer.Option(help="DSPy signature the program works on.")] = "problem -> answer",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Constructor option; repeat for more.")
    ] = None,
    model: Annotated[str, typer.Option(help="embedded, a folder, or a Hugging Face name.")] = "embedded",
    temperature: Annotated[float | None, typer.Option(min=0.0)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Generated tokens per call at most.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal samples.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Fields and the whole run record as one JSON object.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="What each step did, on standard error.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="The engine's own log on standard error.")] = False,
) -> None:
    """Run a program on one problem and print its answer.

    Examples:

      reasonflow run self_consistency "What is 17 + 25?" --set n=8 --explain

      reasonflow run pdr "How many primes are below 100?" --set widths=4,2 --model Qwen/Qwen3-8B --json
    """
    import dspy

    made = build(program, signature, settings or ())
    names = tuple(made.input_names())
    values = _values(inputs, names)
    lm = open_lm(model, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, verbose=verbose)
    with dspy.context(lm=lm):
        out = made(**values)
    if explain:
        print(out.run.explain(), file=sys.stderr)
    if as_json:
        print(json.dumps({"output": out.toDict(), "run": out.run.to_json()}, indent=2, default=str))
        return
    outputs = [name for name in made.signature.output_fields if name in out]
    for name in outputs or list(out.keys()):
        print(out[name] if len(outputs) == 1 else f"{name}: {out[name]}")


def _values(words: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """The inputs by name: one bare text for a single field, field=value otherwise."""
    if len(words) == 1 and len(names) == 1 and not words[0].startswith(f"{names[0]}="):
        return {names[0]: words[0]}
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} is not of the form field=value", fix=f"the fields are {', '.join(names)}")
        if name not in names:
            raise UnknownName.among("input", name, names)
        values[name] = value
    return values
