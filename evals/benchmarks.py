"""Benchmarks by name: one table says where each lives and which of its columns mean what.

Those of question answering have a table of their own, `reasonflow.evals.qa.table`, and those that only a file gives,
`reasonflow.evals.files`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.benchmark import Benchmark, to_problems
from reasonflow.evals.dataset import Problem, read_problems
from reasonflow.evals.files import FILES
from reasonflow.evals.qa.table import QUESTIONS
from reasonflow.evals.tasks import DEFAULT_SIZE, PREFIX, generate, parse_task, problems

DEFAULT = f"{problems.NAME}:mid"
"""The built-in model was trained on this family and knows nothing else."""


def after_hashes(answer: str) -> str:
    """GSM8K's final answer: what stands behind `####`, without thousands commas."""
    return answer.rpartition("####")[2].strip().replace(",", "")


def whole_number(answer: str) -> str:
    """`145.0` as `145`: SVAMP's copy keeps its numbers as floats."""
    return re.sub(r"\.0+\Z", "", answer.strip())


def without_leading_zeros(answer: str) -> str:
    """`025` as `25`: AIME's answers are numbers of up to three digits."""
    return answer.strip().lstrip("0") or "0"


BENCHMARKS: Mapping[str, Benchmark] = {
    "gsm8k": Benchmark(
        repository="openai/gsm8k",
        config="main",
        split="test",
        problem=("question",),
        answer="answer",
        clean=after_hashes,
        licence="MIT",
    ),
    "gsm8k_train": Benchmark(
        repository="openai/gsm8k",
        config="main",
        split="train",
        problem=("question",),
        answer="answer",
        clean=after_hashes,
        licence="MIT",
    ),
    "math500": Benchmark(
        repository="HuggingFaceH4/MATH-500",
        split="test",
        problem=("problem",),
        answer="answer",
        id="unique_id",
        licence="MIT (hendrycks/math, openai/prm800k)",
    ),
    "aime24": Benchmark(
        repository="HuggingFaceH4/aime_2024",
        split="train",
        problem=("problem",),
        answer="answer",
        id="id",
        clean=without_leading_zeros,
        licence="not declared; problems (c) MAA",
    ),
    "aime25": Benchmark(
        repository="math-ai/aime25",
        split="test",
        problem=("problem",),
        answer="answer",
        id="id",
        clean=without_leading_zeros,
        licence="Apache-2.0 as declared there; problems (c) MAA",
    ),
    "svamp": Benchmark(
        repository="ChilleD/SVAMP",
        split="train+test",  # this copy divides the original thousand problems 700 to 300
        problem=("Body", "Question"),
        answer="Answer",
        id="ID",
        clean=whole_number,
        licence="MIT",
    ),
    "multiarith": Benchmark(
        repository="ChilleD/MultiArith",
        split="train+test",  # the original six hundred problems, divided by this copy
        problem=("question",),
        answer="final_ans",
        clean=whole_number,
        licence="not declared",
    ),
    **QUESTIONS,
}


def names() -> list[str]:
    """Every benchmark with a name of its own, the default first: that one is generated and needs no download."""
    return [DEFAULT, *BENCHMARKS, *FILES]


def load(
    benchmark: str | None = None,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> list[Problem]:
    """The problems of a benchmark, or of a JSON-lines file.

    data: with a benchmark, the rows of this file, read and graded as that benchmark is: offline, or a part of it.
    limit: at most so many: the first ones, or a random choice of that size in file order where a `seed` is given. For a
    generated benchmark it is the number of problems made, and `seed` makes other ones.
    Raises UnknownName, and InputError for a bad file, for a file of a benchmark that is generated, and for a benchmark
    that cannot be had.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} leaves no problem to solve", fix="use a limit of at least 1")
    if data is not None and benchmark is None:
        return choose(read_problems(data), limit, seed)
    name = DEFAULT if benchmark is None else benchmark
    generated = name.startswith(PREFIX) or problems.is_named(name)
    if data is not None and generated:
        raise InputError(
            f"a generated benchmark, {name}, and a data file were both given",
            why="its problems are made on the spot; no file holds them",
            fix="use either --benchmark or --data; a file goes with benchmarks that are downloaded, such as 2wiki",
        )
    if name.startswith(PREFIX):
        task = parse_task(name)
        return generate(task, size=limit or DEFAULT_SIZE, seed=task.seed if seed is None else seed)
    if generated:
        return problems.generate(name, size=limit or DEFAULT_SIZE, seed=seed)
    if name in FILES:
        if data is None:
            raise InputError(
                f"the benchmark {name!r} is read from a file",
                why="there is no table of it to download",
                fix="give its rows as JSON lines with --data FILE; docs/calls.md says what is in them",
            )
        return choose(read_problems(data, FILES[name]), limit, seed)
    if name not in BENCHMARKS:
        raise UnknownName.among("benchmark", name, [*names(), f"{PREFIX}chain_sum"])
    entry = BENCHMARKS[name]
    return choose(download(name, entry) if data is None else read_problems(data, entry.read_row), limit, seed)


def download(name: str, benchmark: Benchmark) -> list[Problem]:
    """All problems of a table entry, through `datasets` and its cache. Raises InputError where they cannot be had."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"the benchmark {name!r} needs the package datasets",
            why=str(error),
            fix='pip install "reasonflow[eval]", or give the problems as a file with --data',
        ) from error
    try:
        if benchmark.file is None:
            rows = datasets.load_dataset(benchmark.repository, benchmark.config, split=benchmark.split)
        else:
            rows = _json_file(benchmark.repository, benchmark.file)
    except Exception as error:  # network, hub and file errors of four libraries share no base class
        raise InputError(
            f"the benchmark {name!r} ({benchmark.repository}) cannot be loaded",
            why=f"{type(error).__name__}: {_first_line(error)}",
            fix="check the connection to the Hugging Face hub, or give the problems as JSON lines with --data FILE; "
            f"--benchmark {DEFAULT} needs no download",
        ) from error
    return list(to_problems(name, benchmark, rows))


def _json_file(repository: str, file: str) -> Any:
    """The content of one file of a dataset, from the hub's cache. Raises what the hub and JSON raise."""
    from huggingface_hub import hf_hub_download

    return json.loads(Path(hf_hub_download(repository, file, repo_type="dataset")).read_text(encoding="utf-8"))


def choose(problems: list[Problem], limit: int | None, seed: int | None) -> list[Problem]:
    """The first `limit` problems, or a seeded choice of that many in their own order."""
    if limit is None or limit >= len(problems):
        return problems
    if seed is None:
        return problems[:limit]
    chosen = sorted(random.Random(seed).sample(range(len(problems)), limit))
    return [problems[index] for index in chosen]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
