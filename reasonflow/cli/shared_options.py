"""Options and arguments that several commands take: each is spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

PROGRAMS = (
    "best_of_n, chain_of_thought, confident_vote, hybrid_search, pdr, planned_search, rsa, self_consistency, "
    "sequential_refine or threads"
)
ProgramName: TypeAlias = Annotated[str, typer.Argument(help=f"{PROGRAMS}.")]
Settings: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Constructor option; repeat for more.")
]

Model: TypeAlias = Annotated[str, typer.Option(help="embedded, a folder, or a Hugging Face name.")]
Engine: TypeAlias = Annotated[
    str,
    typer.Option(
        "--engine", metavar="ENGINE", help="vllm (in this process), a server's URL, lm15 or litellm (hosted models)."
    ),
]
ApiKeyEnv: TypeAlias = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the server's API key."),
]
Verbose: TypeAlias = Annotated[bool, typer.Option("-v", "--verbose", help="The engine's own log on standard error.")]

Temperature: TypeAlias = Annotated[float | None, typer.Option(min=0.0, help="Of the samples; 0 is greedy.")]
TopP: TypeAlias = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")]
MaxTokens: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Generated tokens per call at most.")]

Benchmark: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="gsm8k, math500, hotpotqa, 2wiki, ..., graphmath:MIX, rg:NAME of reasoning-gym; "
        "graphmath:mid if none is given."
    ),
]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="JSON lines with problem and answer, instead of a benchmark; with --benchmark, rows of that benchmark.",
    ),
]
Corpus: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--corpus", metavar="FILE", help="What is searched: JSON lines with title and text; repeat for more."),
]
Allow: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="MODULE:NAME",
        help="A class or a tool that an artifact may name: its module is imported, from here too; repeat for more.",
    ),
]
Limit: TypeAlias = Annotated[int | None, typer.Option(min=1, help="At most so many problems, the first ones.")]
Samples: TypeAlias = Annotated[int, typer.Option(min=1, help="Runs per problem.")]
Seed: TypeAlias = Annotated[
    int, typer.Option(help="Equal seeds draw equal samples; the problems of an evaluation stay the same.")
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Samples and results; the same command goes on there.")
]
Concurrency: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Runs side by side; as many as the engine takes if not given.")
]
Picture: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw it: a file that ends in .png, .svg or .pdf.")
]
