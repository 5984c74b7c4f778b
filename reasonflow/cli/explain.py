"""`reasonflow explain`: a program's plan before anything runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from reasonflow.cli.options import LOCAL, build, open_lm
from reasonflow.cli.shared_options import Engine, ProgramName, Settings


def explain(
    program: ProgramName,
    signature: Annotated[str, typer.Option(help="DSPy signature the program works on.")] = "problem -> answer",
    settings: Settings = None,
    model: Annotated[
        str | None, typer.Option(help="Bounds for it: embedded, a folder, or a Hugging Face name. No engine starts.")
    ] = None,
    engine: Engine = LOCAL,
    budget: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="Of each run: sequential=16k, total=, calls=, seconds=, dollars=."),
    ] = None,
    passes: Annotated[bool, typer.Option("--passes", help="The plan as traced and after each compiler pass.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show what a program would do: shape, prompts, what is shared, worst case. Nothing runs.

    Examples:

      reasonflow explain pdr --set widths=8,4

      reasonflow explain self_consistency --set n=16 --model embedded --json

      reasonflow explain pdr --budget sequential=16k
    """
    import dspy

    from reasonflow import programs
    from reasonflow.compiler.passes import stages
    from reasonflow.language.program import trace
    from reasonflow.plan.explain import Explanation

    searching = programs.searches(programs.find(program))
    made = build(program, signature, settings or (), budget=budget, retriever=_nothing if searching else None)
    lm = None if model is None else open_lm(model, engine=engine)
    with dspy.context(lm=lm):
        explanation = made.explain()
        steps = stages(trace(made).plan) if passes else []
    shown = [(name, Explanation(explanation.program, plan, explanation.window)) for name, plan in steps]
    if as_json:
        result = explanation.to_json()
        if passes:
            result["passes"] = {name: step.to_json() for name, step in shown}
        print(json.dumps(result, indent=2))
        return
    for name, step in shown:
        print(f"-- {name}\n{step}\n")
    if not passes:
        print(explanation)


async def _nothing(query: str) -> list[str]:
    """In place of a retriever: nothing runs."""
    return []
