"""`reasonflow compile`: a program made better on a budget, and tested on problems it has not seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonflow.cli.artifacts import is_artifact, open_artifact
from reasonflow.cli.options import LOCAL, build, open_lm, runs_folder
from reasonflow.cli.shared_options import (
    PROGRAMS,
    Allow,
    ApiKeyEnv,
    Data,
    Engine,
    MaxTokens,
    Model,
    Seed,
    Settings,
    Temperature,
    TopP,
    Verbose,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from reasonflow.evals.dataset import Problem
    from reasonflow.evals.grading import Grader
    from reasonflow.evals.transfer.measured import Transfer
    from reasonflow.language.program import Program
    from reasonflow.plan.budget import Budget

_FEWEST, _MOST = 16, 200
"""Problems that settings are measured on where nobody says how many."""
_WITH_GATES = 600
"""The most where a third of them is for gates, which take some hundreds."""
_EVALUATIONS = 6
"""Whole evaluations of a middling setting that the budget should pay for."""
_PROMPT_EVALUATIONS = 12
"""Whole evaluations of the program, where its prompts are tuned."""


def compile_program(
    program: Annotated[str, typer.Argument(help=f"{PROGRAMS}, or an artifact, a .json file.")],
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
    test: Annotated[
        str | None,
        typer.Option(
            metavar="BENCHMARK",
            help="Test the result on these, none of which it may have seen: as --benchmark, or a .jsonl file.",
        ),
    ] = None,
    test_limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many of them; {_MOST} if not given. No part of the budget.")
    ] = None,
    optimize: Annotated[
        str, typer.Option(help="What to make better: topology, prompts, gates, or several, as prompts,topology,gates.")
    ] = "topology",
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
    alpha: Annotated[float, typer.Option(help="Errors among what a gate accepts, at most.")] = 0.1,
    delta: Annotated[float, typer.Option(help="Chance that there are more.")] = 0.1,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=V1,V2]",
            help="An option of the program to search, with its values (lists with ; between) or its range LOW..HIGH; "
            "repeat for more. All that the program offers if not given.",
        ),
    ] = None,
    objective: Annotated[
        str, typer.Option(help="accuracy; or sequential or total: the fewest tokens of what is not told apart from it.")
    ] = "accuracy",
    model: Model = "embedded",
    engine: Engine = LOCAL,
    api_key_env: ApiKeyEnv = None,
    seed: Seed = 0,
    settings: Settings = None,
    allow: Allow = None,
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
    """Search a program's shape for accuracy against tokens, and print the front of what is unbeaten.

    It searches what the program offers: widths, rounds, distiller, temperature and the like; --set says where the
    search begins, --search what is open.

    Settings are tried on the same problems with the same seeds; one that another clearly beats is given up early. The
    best so far is DIR/PROGRAM.json, a program for `reasonflow eval`.

    With prompts in --optimize one of DSPy's optimizers first writes instructions and demos, learning from half of the
    problems.

    --test measures the result on problems that were not searched on, beside the program it came from and beside
    self-consistency with the same tokens: the best of many settings looks better than it is on those it was chosen by.

    With gates in --optimize, a third of the problems is kept aside, and each gate of the program is calibrated on them
    last. Programs with gates are compiled from an artifact.

    Examples:

      reasonflow compile pdr --benchmark graphmath:noise --budget calls=2000 --out runs/pdr

      reasonflow compile pdr --budget calls=2000 --search "widths=2;4;4,2" --search temperature=0.2..1.2

      reasonflow compile self_consistency --data problems.jsonl --budget total=1m,seconds=20m --objective total --json

      reasonflow compile pdr --benchmark graphmath:noise --budget calls=2000 --test graphmath:noise --test-limit 100

      reasonflow compile planner.json --benchmark gsm8k --budget calls=5k --optimize topology,gates --alpha 0.05

      reasonflow compile pdr --benchmark gsm8k --budget calls=5000 --optimize prompts --prompts-by miprov2
    """
    from reasonflow.evals.dataset import signature_of
    from reasonflow.evals.grading import Grader
    from reasonflow.optimizers.compile_request import phases_for, phases_of
    from reasonflow.optimizers.compiling import compile as compile_with
    from reasonflow.optimizers.gates import fewest
    from reasonflow.plan.budget import Budget

    limits = Budget.parse(budget)
    phases = phases_of([word.strip() for word in optimize.split(",")])
    problems, name = _problems(benchmark, data, limit or (_WITH_GATES if "gates" in phases else _MOST))
    tests = _test_problems(test, test_limit)
    signature = signature_of(problems[0])
    made: Any
    if is_artifact(program):
        if search:
            from reasonflow.errors import InputError

            raise InputError(
                "--search has no meaning with an artifact",
                why="what is open is in it",
                fix="leave it out, or name a program",
            )
        made = open_artifact(program, signature, settings=settings or (), allow=allow or ())
    else:
        made = build(program, signature, settings or (), search=(search or ()) if "topology" in phases else None)
    if limit is None:
        problems = problems[: _size(made, problems, limits, phases_for(made, phases), fewest(alpha, delta))]
    folder = out or runs_folder("compile", program.removesuffix(".json"), name, model, str(seed))
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
                testset=_examples(tests) or None,
                budget=limits,
                optimize=phases,
                objective=objective,  # type: ignore[arg-type]  # checked there
                alpha=alpha,
                delta=delta,
                seed=seed,
                out=folder,
                lm=lm,
                concurrency=concurrency,
                show_progress=True,
                prompts_by=prompts_by,  # type: ignore[arg-type]  # checked there, too
                reflection_lm=None if reflection is None else open_lm(reflection, engine=reflection_engine),
            )
        if tests:
            found = _tested(compiled, made, tests, folder, str(test), lm=lm, seed=seed, concurrency=concurrency)
            compiled.compile_report = {**(compiled.compile_report or {}), "transfer": found.to_json()}
            compiled.save(folder / compiled.compile_report["artifact"])
    except KeyboardInterrupt:
        print(f"what has ended is in {folder}; the same command goes on from there", file=sys.stderr)
        raise
    _show(compiled, folder, as_json)
    if tests and not as_json:
        print(f"\n{found}")


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


def _tested(
    compiled: Program, before: Program, problems: list[Problem], folder: Path, name: str, **options: Any
) -> Transfer:
    """The transfer report, recorded below the folder: there it goes on where it was stopped."""
    import anyio
    from rich.console import Console

    from reasonflow.evals.sweep.running import Sweeping
    from reasonflow.evals.transfer.running import measure

    talk = Console(stderr=True)
    talk.print(f"test on {len(problems)} problems of {name}", highlight=False, markup=False, soft_wrap=True)
    where = folder / "transfer"
    setting = Sweeping(problems=problems, samples=1, out=where, benchmark=name, console=talk, **options)
    return anyio.run(measure, setting, compiled, before)


def _test_problems(test: str | None, limit: int | None) -> list[Problem]:
    """What to test on; none where nothing is asked for."""
    from reasonflow.errors import InputError
    from reasonflow.evals.benchmarks import load

    if test is None:
        if limit is not None:
            raise InputError(
                "--test-limit has no use without --test", fix="say what to test on: --test graphmath:noise"
            )
        return []
    if test.endswith(".jsonl"):
        return load(data=test, limit=limit or _MOST)
    return load(test, limit=limit or _MOST)


def _problems(benchmark: str | None, data: Path | None, limit: int) -> tuple[list[Problem], str]:
    """Problems to search on, and what they are called: those of the train split where the benchmark has one."""
    from reasonflow.evals.benchmarks import BENCHMARKS, DEFAULT, load
    from reasonflow.evals.tasks import problems

    name = benchmark or (DEFAULT if data is None else None)
    if name is not None and problems.is_named(name) and "split=" not in name:
        name += ",split=train" if ":" in name else ":mid,split=train"
    if name is not None and data is None and f"{name}_train" in BENCHMARKS:
        name = f"{name}_train"
    found = load(name, data=data, limit=limit)
    return found, "-".join(word for word in (name, None if data is None else data.stem) if word is not None)


def _size(program: Program, problems: list[Problem], budget: Budget, phases: Sequence[str], least: int) -> int:
    """So many problems that the budget pays for several evaluations of what is measured on, and for the gates.

    least: examples that a gate takes.
    """
    from reasonflow.optimizers.compile_division import ASIDE
    from reasonflow.optimizers.gate_samples import calls_each
    from reasonflow.optimizers.topology.outlook import look_ahead

    calls = budget.calls
    if phases == ("gates",):
        return len(problems) if calls is None else max(least, calls // calls_each(program))
    measured = 2 * _FEWEST if "topology" in phases else _FEWEST
    if calls is not None:
        each = 0
        if "topology" in phases:
            each += _EVALUATIONS * look_ahead(program, _examples(problems[:1]), budget).typical
        if "prompts" in phases:
            each += _PROMPT_EVALUATIONS * program.explain().bound.calls
        measured = max(_FEWEST, min(_MOST if phases == ("topology",) else _MOST // 2, calls // each))
    if "prompts" in phases:  # as many to learn from
        measured *= 2
    return max(round(measured / (1 - ASIDE)), round(least / ASIDE) + 1) if "gates" in phases else measured


def _show(compiled: Program, folder: Path, as_json: bool) -> None:
    report: Any = compiled.compile_report
    artifact = folder / report["artifact"]
    if as_json:
        print(json.dumps({**report, "out": str(folder), "artifact": str(artifact)}, ensure_ascii=False, default=str))
        return
    spent = report["spent"]
    prompts = report if "candidates" in report else report.get("prompts")
    if prompts is not None:
        _show_prompts(prompts)
    if "front" in report:
        print(compiled.front)
        states = [trial["state"] for trial in report["trials"]]
        print(
            f"\n{len(states)} settings tried: {states.count('finished')} measured whole, {states.count('dropped')} "
            f"given up early; {report['stopped']}"
        )
    for gate in report.get("gates", ()):
        print(f"gate {gate['gate']}: {gate['said']}")
    by = ", ".join(f"{name} {amount['calls']:,}" for name, amount in report["spent_by"].items())
    of = f" ({by})" if len(report["spent_by"]) > 1 else ""
    print(f"spent: {spent['calls']:,} calls{of}, {spent['total']:,} tokens, {spent['seconds']:,.0f} s")
    if "front" not in report:
        print(f"written: {artifact}")
        return
    chosen = next(point for point in compiled.front.points if point.trial == report["chosen"])
    words = ", ".join(f"{name}={value}" for name, value in chosen.settings.items())
    print(f"chosen by {report['objective']}: {words} → {artifact}")


def _show_prompts(report: Any) -> None:
    for row in report["candidates"]:
        what = "; ".join(row["changed"]) or "the program as it is"
        mark = "*" if row["number"] == report["chosen"] else " "
        print(f"{mark} {100 * row['accuracy']:5.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})  {what}")
    best = next(row for row in report["candidates"] if row["number"] == report["chosen"])
    print(
        f"\n{len(report['candidates'])} prompts measured on {best['problems']} problems, by {report['by']}; "
        f"{report['stopped']}. The best is marked *"
    )
    for name, told in best["prompts"].items():
        print(f"\n{name}, {len(told['demos'])} demos:\n{told['instructions']}")
    print()
