"""`reasonflow compile`: the settings of a program, searched on a budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.options import LOCAL, build, open_lm, runs_folder
from reasonflow.cli.shared_options import (
    ApiKeyEnv,
    Data,
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

if TYPE_CHECKING:
    import dspy

    from reasonflow.evals.dataset import Problem
    from reasonflow.evals.grading import Grader
    from reasonflow.language.program import Program
    from reasonflow.plan.budget import Budget

_FEWEST, _MOST = 16, 200
"""Problems that settings are measured on where nobody says how many."""
_EVALUATIONS = 6
"""Whole evaluations of a middling setting that the budget should pay for."""
_PROMPT_EVALUATIONS = 12
"""Whole evaluations of the program, where its prompts are tuned."""


def compile_program(
    program: ProgramName,
    budget: Annotated[
        str,
        typer.Option(
            metavar="LIMITS",
            help="Of all of it, never exceeded: calls=2000, or total=1m,seconds=20m; sequential is of runs.",
        ),
    ],
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="As of eval: gsm8k, graphmath:MIX, ...; its train split where it has one; graphmath:mid if none."
        ),
    ] = None,
    data: Data = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many problems to measure on; as the budget suggests if not given."),
    ] = None,
    optimize: Annotated[str, typer.Option(help="What to make better: topology, or prompts.")] = "topology",
    prompts_by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of DSPy's optimizers: gepa, miprov2, bootstrap, simba; gepa if none."),
    ] = None,
    reflection: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Writes instructions; the model of the program if not given."),
    ] = None,
    reflection_engine: Annotated[
        str, typer.Option(metavar="ENGINE", help="Of the reflection model, as --engine.")
    ] = LOCAL,
    objective: Annotated[
        str, typer.Option(help="accuracy; or sequential or total: the fewest tokens of what is not told apart from it.")
    ] = "accuracy",
    model: Model = "embedded",
    engine: Engine = LOCAL,
    api_key_env: ApiKeyEnv = None,
    seed: Seed = 0,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record and artifact; the same command goes on there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as one JSON object.")] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_tokens: MaxTokens = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Runs side by side; as many as the engine takes if not given.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Search a program's widths and rounds for accuracy against tokens, and print the front of what is unbeaten.

    Settings are tried on the same problems with the same seeds; one that another clearly beats is given up early. With
    --optimize prompts one of DSPy's optimizers writes instructions and demos instead, learning from half of the
    problems. The best so far is DIR/PROGRAM.json, a program for `reasonflow eval`. Measure it there, on problems that
    were not searched on: the best of many looks better than it is.

    Examples:

      reasonflow compile pdr --benchmark graphmath:noise --budget calls=2000 --out runs/pdr

      reasonflow compile self_consistency --data problems.jsonl --budget total=1m,seconds=20m --objective total --json

      reasonflow compile pdr --benchmark gsm8k --budget calls=5000 --optimize prompts --prompts-by miprov2
    """
    from reasonflow.evals.dataset import signature_of
    from reasonflow.evals.grading import Grader
    from reasonflow.optimizers.compiling import compile as compile_with
    from reasonflow.plan.budget import Budget

    limits = Budget.parse(budget)
    problems, name = _problems(benchmark, data, limit)
    made: Any = build(program, signature_of(problems[0]), settings or ())
    parts = tuple(word.strip() for word in optimize.split(","))
    if limit is None:
        problems = problems[: _size(made, problems, limits, prompts="prompts" in parts)]
    folder = out or runs_folder("compile", program, name, model, str(seed))
    lm = open_lm(
        model,
        engine=engine,
        api_key_env=api_key_env,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        verbose=verbose,
    )
    print(f"{program} on {len(problems)} problems of {name} with {model} → {folder}", file=sys.stderr)
    try:
        with Grader() as grader:
            compiled = compile_with(
                made,
                _examples(problems),
                _Graded(problems, grader),
                budget=limits,
                optimize=parts,
                objective=objective,  # type: ignore[arg-type]  # checked there
                seed=seed,
                out=folder,
                lm=lm,
                concurrency=concurrency,
                show_progress=True,
                prompts_by=prompts_by,  # type: ignore[arg-type]  # checked there, too
                reflection_lm=None if reflection is None else open_lm(reflection, engine=reflection_engine),
            )
    except KeyboardInterrupt:
        print(f"the trials so far are in {folder}; the same command goes on from there", file=sys.stderr)
        raise
    _show(compiled, folder, as_json)


class _Graded:
    """The benchmark's own grading as a metric."""

    def __init__(self, problems: list[Problem], grader: Grader) -> None:
        self._problems, self._grader = {problem.id: problem for problem in problems}, grader

    def __call__(self, example: dspy.Example, prediction: Any) -> bool:
        from reasonflow.evals.judging import required_answer

        problem = self._problems[example["problem_id"]]
        return self._grader.grade(problem, required_answer(prediction, problem.output)).correct


def _examples(problems: list[Problem]) -> list[dspy.Example]:
    import dspy

    return [
        dspy.Example(**problem.inputs, **{problem.output: problem.answer}, problem_id=problem.id).with_inputs(
            *problem.inputs
        )
        for problem in problems
    ]


def _problems(benchmark: str | None, data: Path | None, limit: int | None) -> tuple[list[Problem], str]:
    """Problems to search on, and what they are called: those of the train split where the benchmark has one."""
    from reasonflow.evals.benchmarks import BENCHMARKS, DEFAULT, load
    from reasonflow.evals.tasks import problems

    name = benchmark or (DEFAULT if data is None else None)
    if name is not None and problems.is_named(name) and "split=" not in name:
        name += ",split=train" if ":" in name else ":mid,split=train"
    if name is not None and data is None and f"{name}_train" in BENCHMARKS:
        name = f"{name}_train"
    found = load(name, data=data, limit=limit or _MOST)
    return found, "-".join(word for word in (name, None if data is None else data.stem) if word is not None)


def _size(program: Program, problems: list[Problem], budget: Budget, *, prompts: bool) -> int:
    """So many problems that the budget pays for several evaluations."""
    from reasonflow.optimizers.compiling import look_ahead

    if budget.calls is None:
        return 2 * _FEWEST
    if prompts:  # half to learn from, half to measure on
        return 2 * max(_FEWEST, min(_MOST // 2, budget.calls // (_PROMPT_EVALUATIONS * program.explain().bound.calls)))
    typical = look_ahead(program, _examples(problems[:1]), budget).typical
    return max(_FEWEST, min(_MOST, budget.calls // (_EVALUATIONS * typical)))


def _show(compiled: Program, folder: Path, as_json: bool) -> None:
    report: Any = compiled.compile_report
    artifact = folder / report["artifact"]
    if as_json:
        print(json.dumps({**report, "out": str(folder), "artifact": str(artifact)}, ensure_ascii=False, default=str))
        return
    if "front" not in report:
        _show_prompts(report, artifact)
        return
    front, spent = compiled.front, report["spent"]
    states = [trial["state"] for trial in report["trials"]]
    print(front)
    print(
        f"\n{len(states)} settings tried: {states.count('finished')} measured whole, {states.count('dropped')} "
        f"given up early; {report['stopped']}"
    )
    print(f"spent: {spent['calls']:,} calls, {spent['total']:,} tokens, {spent['seconds']:,.0f} s")
    chosen = next(point for point in front.points if point.trial == report["chosen"])
    words = ", ".join(f"{name}={value}" for name, value in chosen.settings.items())
    print(f"chosen by {report['objective']}: {words} → {artifact}")


def _show_prompts(report: Any, artifact: Path) -> None:
    spent = report["spent"]
    for row in report["candidates"]:
        what = "; ".join(row["changed"]) or "the program as it is"
        mark = "*" if row["number"] == report["chosen"] else " "
        print(f"{mark} {100 * row['accuracy']:5.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})  {what}")
    best = next(row for row in report["candidates"] if row["number"] == report["chosen"])
    print(
        f"\n{len(report['candidates'])} measured on {best['problems']} problems, by {report['by']}; {report['stopped']}"
    )
    print(f"spent: {spent['calls']:,} calls, {spent['total']:,} tokens, {spent['seconds']:,.0f} s")
    print(f"chosen: the best, marked * → {artifact}")
    for name, told in best["prompts"].items():
        print(f"\n{name}, {len(told['demos'])} demos:\n{told['instructions']}")
