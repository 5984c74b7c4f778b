"""Two recorded evaluations compared: on what, with which figures, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reasonflow.errors import InputError
from reasonflow.evals.compare.comparison import Comparison, compare, ks
from reasonflow.evals.compare.json import as_json
from reasonflow.evals.compare.run_folder import read_run
from reasonflow.evals.compare.table import lines
from tests.evals.compare.run import write_run

BASE = {"a": ["4"], "b": ["3"], "c": ["3"], "d": ["4"]}
BETTER = {"a": ["4"], "b": ["4"], "c": ["4"], "d": ["3"]}


def compared(baseline: Path, other: Path) -> Comparison:
    return compare(read_run(baseline), read_run(other))


def test_single_samples_are_paired_problem_by_problem(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    found = compared(base, write_run(tmp_path / "better", BETTER, tokens=300, settings={"n": 3}))
    assert [each.value for each in found.accuracies] == [0.5, 0.75]
    assert found.accuracies[0].method == "wilson"
    assert found.difference.value == 0.25
    assert found.difference.low < 0 < found.difference.high
    assert (found.fixed, found.broken) == (2, 1)
    assert [(each.id, each.answers) for each in found.changed][-1] == ("d", ("4", "3"))
    total = found.spent["total_tokens"]
    assert total.ratio is not None
    assert (total.baseline, total.other, total.ratio.value) == (100, 300, 3)
    assert found.spent["seconds"].baseline == 2
    assert found.settings == (("settings.n", 1, 3),)
    assert found.figures == found.matched == found.warnings == ()


def test_problems_of_one_run_alone_are_left_out_and_named(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    found = compared(base, write_run(tmp_path / "other", {"b": ["4"], "e": ["4"]}))
    assert found.pairs.common == ("b",)
    assert [each.value for each in found.accuracies] == [0, 1]
    told = "\n".join(found.warnings)
    assert "3 problems of" in told
    assert "left out: a, c, d" in told
    assert "1 problem of" in told
    assert found.difference.low < 1  # one problem proves little


def test_several_samples_give_figures_at_k_and_a_vote_at_equal_tokens(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", {"a": ["4", "4", "3", "4"], "b": ["4", "3", "4", "2"]})
    found = compared(base, write_run(tmp_path / "dear", {"a": ["4"] * 4, "b": ["3"] * 4}, tokens=300, sequential=50))
    assert [each.baseline.name for each in found.figures] == ["pass@2", "pass@4", "maj@2", "maj@4", "mG-pass@4"]
    assert found.figures[1].baseline.found.value == 1
    assert found.figures[1].difference.value == -0.5
    (match,) = found.matched  # sequential tokens are equal: nothing to match there
    assert match.cost == "total"
    assert match.voter.path == base
    assert match.vote.samples == 3
    assert match.accuracy.value == pytest.approx((1 + 2 / 3) / 2)  # b: of 3 of 4, 4 wins twice, ties twice: 2/2 + 2/6
    assert match.difference.value == pytest.approx(0.5 - match.accuracy.value)
    assert "from 4 samples of each, reused" in "\n".join(lines(found))


def test_a_vote_that_runs_out_of_samples_says_so(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", {"a": ["4", "4"], "b": ["4", "3"]})
    found = compared(base, write_run(tmp_path / "dear", {"a": ["4"], "b": ["3"]}, tokens=300))
    (match,) = found.matched
    assert (match.vote.samples, match.vote.short) == (2, True)
    assert "spends less" in "\n".join(lines(found))
    assert as_json([found])["comparisons"][0]["matched"][0]["spends_less"] is True


def test_the_cheaper_votes_whichever_side_it_is_on(tmp_path: Path) -> None:
    dear = write_run(tmp_path / "dear", {"a": ["4"], "b": ["3"]}, tokens=300)
    found = compared(dear, write_run(tmp_path / "cheap", {"a": ["4"] * 3, "b": ["4"] * 3}))
    (match,) = found.matched
    assert match.voter.path == tmp_path / "cheap"
    assert match.difference.value == -0.5  # the dear one minus the vote


def test_an_unfinished_run_is_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    other = write_run(tmp_path / "other", {"a": ["4"], "b": ["4"]}, planned=4)
    with (other / "samples.jsonl").open("a") as file:
        file.write('{"id": "c", "sam')
    found = compared(base, other)
    assert found.pairs.common == ("a", "b")
    assert f"{other} is unfinished: 2 of 4 samples" in found.warnings[0]
    assert as_json([found])["comparisons"][0]["other"]["finished"] is False


def test_other_seeds_are_said_to_be_no_common_draws(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    assert "none of the samples" in compared(base, write_run(tmp_path / "other", BASE, seed=1)).warnings[0]
    assert compared(base, write_run(tmp_path / "same", BASE)).warnings == ()


def test_equal_runs_have_no_difference_and_still_an_interval(tmp_path: Path) -> None:
    found = compared(write_run(tmp_path / "a", BASE), write_run(tmp_path / "b", BASE))
    assert found.difference.value == 0
    assert found.difference.high > 0.1
    assert "the manifests are equal" in "\n".join(lines(found, changed=True))
    assert "no problem came out differently" in "\n".join(lines(found, changed=True))


def test_benchmarks_of_other_names_need_the_same_problems(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    found = compared(base, write_run(tmp_path / "other", {"a": ["4"], "b": ["4"]}, benchmark="doubles-mine"))
    assert "named 'doubles' and 'doubles-mine'" in "\n".join(found.warnings)
    with pytest.raises(InputError, match="of different benchmarks"):
        compared(base, write_run(tmp_path / "more", {"a": ["4"], "z": ["4"]}, benchmark="others"))
    with pytest.raises(InputError, match="of different benchmarks"):
        compared(base, write_run(tmp_path / "gold", BASE, gold="7", benchmark="others"))


def test_equal_ids_with_other_gold_answers_are_other_problems(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", BASE)
    with pytest.raises(InputError, match="4 ids are the same, with other gold answers"):
        compared(base, write_run(tmp_path / "gold", BASE, gold="7"))
    with pytest.raises(InputError, match="no problem in common"):
        compared(base, write_run(tmp_path / "none", {"z": ["4"]}))


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "suite" / "arm", BASE)
    empty = write_run(tmp_path / "empty", {"a": []})
    damaged = write_run(tmp_path / "damaged", BASE)
    (damaged / "manifest.json").write_text("[]")
    for path, says in (
        (tmp_path / "nothing", "there is no folder"),
        (damaged / "samples.jsonl", "is a file"),
        (tmp_path / "suite", f"one of those below it: {tmp_path / 'suite' / 'arm'}"),
        (empty, "holds no sample yet"),
        (damaged, "is damaged"),
    ):
        with pytest.raises(InputError) as caught:
            read_run(path)
        assert says in str(caught.value)


def test_json_is_plain_and_lists_changes_where_asked(tmp_path: Path) -> None:
    found = compared(write_run(tmp_path / "a", BASE), write_run(tmp_path / "b", BETTER))
    said = json.loads(json.dumps(as_json([found], changed=True)))["comparisons"][0]
    assert [each["id"] for each in said["changed"]] == ["b", "c", "d"]
    assert said["accuracy"]["difference"]["value"] == 0.25
    assert "changed" not in as_json([found])["comparisons"][0]


def test_ks_double_up_to_all_samples() -> None:
    assert ks(1) == []
    assert ks(2) == [2]
    assert ks(6) == [2, 4, 6]
    assert ks(16) == [2, 4, 8, 16]
