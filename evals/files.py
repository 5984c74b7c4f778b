"""Benchmarks whose rows are given as a file: how a row of each is read."""

from __future__ import annotations

from collections.abc import Mapping

from reasonflow.evals.calls.reading import calls_of, tools_of
from reasonflow.evals.dataset import RowReader
from reasonflow.evals.qa.reading import question_of

FILES: Mapping[str, RowReader] = {
    "bfcl-multiple": calls_of,
    "bfcl-parallel": calls_of,
    "bfcl-parallel-multiple": calls_of,
    "stabletoolbench": tools_of,
    "parallelqa": question_of,
}
"""They have no one table to download: questions and answers are files of their own, or the answers are models' work."""
