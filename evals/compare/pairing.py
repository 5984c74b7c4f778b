"""Which problems of two recorded evaluations may be compared, and what is wrong with comparing them."""

from __future__ import annotations

from dataclasses import dataclass

from reasonflow.errors import InputError
from reasonflow.evals.compare.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The problems of two runs, the first of which is the baseline."""

    common: tuple[str, ...]
    """Ids that both have, with the same gold answer, in the baseline's order; at least one."""
    only_baseline: tuple[str, ...]
    only_other: tuple[str, ...]
    other_gold: tuple[str, ...]
    """Ids that both have with different gold answers: not the same problems, and left out."""
    same_seeds: int
    """Of the common samples."""
    common_samples: int
    """Pairs of samples of the same problem and number."""
    renamed: bool
    """Whether the benchmarks have different names; their problems are the same."""


def paired(baseline: RunFolder, other: RunFolder) -> Pairing:
    """What both have. Raises InputError where that is nothing, and for different benchmarks.

    Benchmarks of different names are the same where all problems of the run that has fewer are problems of the other,
    with the same gold answers: ids alone, such as line numbers, may agree by chance.
    """
    gold, theirs = ({sample.id: sample.expected for sample in run.samples} for run in (baseline, other))
    shared = [id for id in gold if id in theirs]
    common = tuple(id for id in shared if gold[id] == theirs[id])
    names = [run.manifest.get("benchmark", "") for run in (baseline, other)]
    if names[0] != names[1] and len(common) < min(len(gold), len(theirs)):
        raise InputError(
            f"{baseline.path} and {other.path} are of different benchmarks",
            why=f"{names[0]!r} and {names[1]!r} share {len(common)} problems of {len(gold)} and {len(theirs)}",
            fix="compare runs of one benchmark",
        )
    if not common:
        raise InputError(
            f"{baseline.path} and {other.path} have no problem in common",
            why=f"they have {len(gold)} and {len(theirs)} problems"
            + (f"; {len(shared)} ids are the same, with other gold answers" if shared else ""),
            fix="evaluate both on the same problems: the same --benchmark or --data, and --limit",
        )
    seeds = {sample.key: sample.seed for sample in baseline.samples if sample.id in common}
    pairs = [sample for sample in other.samples if sample.id in common and sample.key in seeds]
    return Pairing(
        common=common,
        only_baseline=tuple(id for id in gold if id not in theirs),
        only_other=tuple(id for id in theirs if id not in gold),
        other_gold=tuple(id for id in shared if gold[id] != theirs[id]),
        same_seeds=sum(sample.seed == seeds[sample.key] for sample in pairs),
        common_samples=len(pairs),
        renamed=names[0] != names[1],
    )


def warnings(baseline: RunFolder, other: RunFolder, pairs: Pairing) -> list[str]:
    """What a reader of the comparison has to know, a sentence each; nothing where it is as it should be."""
    said = [
        f"{run.unfinished}; what has not ended yet may be the harder" for run in (baseline, other) if run.unfinished
    ]
    for ids, run in ((pairs.only_baseline, baseline), (pairs.only_other, other)):
        if ids:
            said.append(f"{_count(ids)} of {run.path} alone, left out: {_listed(ids)}")
    if pairs.other_gold:
        said.append(f"{_count(pairs.other_gold)} with different gold answers, left out: {_listed(pairs.other_gold)}")
    if pairs.renamed:
        names = [repr(run.manifest.get("benchmark", "")) for run in (baseline, other)]
        said.append(f"the benchmarks are named {' and '.join(names)}; their problems are the same")
    if pairs.same_seeds < pairs.common_samples:
        same = f"{pairs.same_seeds} of {pairs.common_samples}" if pairs.same_seeds else "none"
        said.append(
            f"other seeds: {same} of the samples were drawn with the same; only the problems are paired, not the draws"
        )
    return said


def _count(ids: tuple[str, ...]) -> str:
    return f"{len(ids)} problem{'s' if len(ids) > 1 else ''}"


def _listed(ids: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (", ..." if len(ids) > most else "")
